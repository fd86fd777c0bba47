package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"
)

// prepare fills the server with what the rows ask for, by way of its API.
func (s *server) prepare(ctx context.Context, doctors int) (err error) {
	tokens := []string{"1", "2"}
	for i, user := range tokens {
		tokens[i], err = s.token(ctx, user)
		if err != nil {
			return err
		}
	}
	s.stock = stock{Token: tokens[0], ListToken: tokens[1]}
	s.stock.Patients, err = s.createMany(ctx, s.stock.Token, patientsPath, stockPatients, func(i int) string {
		return fmt.Sprintf(`{"first_name":"Alice","last_name":"Smith %d","age":0,"gender":"Female"}`, i)
	})
	if err != nil {
		return err
	}
	_, err = s.createMany(ctx, s.stock.ListToken, patientsPath, listLength, func(i int) string {
		return fmt.Sprintf(`{"first_name":"Bob","last_name":"Miller %d","age":52,"gender":"Male"}`, i)
	})
	if err != nil {
		return err
	}
	s.stock.Doctors, err = s.createMany(ctx, s.stock.Token, "/api/doctors/", doctors, func(i int) string {
		return fmt.Sprintf(`{"first_name":"Dr. Sarah","last_name":"Johnson","specialization":"Cardiology","email":"sarah%d@example.com","phone":"+1234567890"}`, i)
	})
	if err != nil {
		return err
	}
	return s.database.tidy(ctx)
}

// token is an access token of a user. Carelog's register and log in; the
// yardstick has no users, and takes tokens that are made like those.
func (s *server) token(ctx context.Context, user string) (string, error) {
	if s.name == yardstickName {
		return signToken(user)
	}
	credentials := fmt.Sprintf(`{"name":"John Doe","email":"john%s@example.com","username":"john%[1]s@example.com","password":"a long password of theirs"}`, user)
	if err := s.post(ctx, "", "/api/auth/register/", credentials, nil); err != nil {
		return "", err
	}
	var pair struct{ Access string }
	return pair.Access, s.post(ctx, "", "/api/auth/login/", credentials, &pair)
}

// signToken makes an access token like Carelog's, with the key that both servers
// are given.
func signToken(user string) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"token_type": "access", "exp": now.Add(24 * time.Hour).Unix(), "iat": now.Unix(),
		"jti": "0123456789abcdef0123456789abcdef", "user_id": user,
	}).SignedString([]byte(secret))
}

// createMany creates n records and answers their ids.
func (s *server) createMany(ctx context.Context, token, path string, n int, body func(i int) string) ([]int64, error) {
	ids := make([]int64, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(databaseConns)
	for i := range ids {
		group.Go(func() error {
			var created struct{ ID int64 }
			err := s.post(ctx, token, path, body(i), &created)
			ids[i] = created.ID
			return err
		})
	}
	return ids, group.Wait()
}

func (s *server) post(ctx context.Context, token, path, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.addr+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("%s: POST %s: %s: %.200s", s.name, path, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
