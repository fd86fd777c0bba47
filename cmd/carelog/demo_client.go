package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// demoClient is a client of the public API, as anybody could write one.
type demoClient struct {
	url             string // without a final slash
	http            *http.Client
	email, password string

	mu     sync.Mutex
	access string
}

// apiAnswer is an answer that a request did not hope for.
type apiAnswer struct {
	status int
	body   string
}

func (a *apiAnswer) Error() string { return fmt.Sprintf("the server answers %d: %s", a.status, a.body) }

// demoPatience is how long a server may refuse what it is asked.
const demoPatience = time.Minute

// do sends a request until the server takes it, and reads the answer into result, if
// that is not nil. With a key the request is carried out once, however often it is
// sent, also by another run.
func (c *demoClient) do(ctx context.Context, method, path, key string, body, result any) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	for logins := 0; ; {
		token := ""
		if !strings.HasPrefix(path, "/api/auth/") {
			token = c.token()
		}
		status, retryAfter, text, err := c.send(ctx, method, path, key, token, body)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("no server answers at %s: start it by `make run`, or name another with --url", c.url)
			}
			return fmt.Errorf("ask the server: %w", err)
		}
		switch {
		case status == http.StatusUnauthorized && token != "" && logins == 0: // access tokens live for minutes
			logins++
			if err := c.login(ctx); err != nil {
				return err
			}
			continue
		case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
			if pause(ctx, retryAfter) {
				continue
			}
		case status/100 == 2:
			if result == nil {
				return nil
			}
			if err := json.Unmarshal(text, result); err != nil {
				return fmt.Errorf("%s is not what Carelog answers to %s %s: %w", c.url, method, path, err)
			}
			return nil
		}
		return &apiAnswer{status, string(text)}
	}
}

func (c *demoClient) send(ctx context.Context, method, path, key, token string, body any) (status int, retryAfter time.Duration, text []byte, err error) {
	var sent io.Reader
	if body != nil {
		document, err := json.Marshal(body)
		if err != nil {
			return 0, 0, nil, err
		}
		sent = bytes.NewReader(document)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, sent)
	if err != nil {
		return 0, 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, 0, nil, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // without one: at once
	return answer.StatusCode, max(time.Duration(seconds)*time.Second, 100*time.Millisecond), text, err
}

// shownPassword is told to whoever reads the output: only the one that everybody knows.
func (c *demoClient) shownPassword() string {
	if c.password == demoPassword {
		return ", password " + demoPassword
	}
	return ", with the password of " + demoPasswordVariable
}

func (c *demoClient) token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.access
}

// register opens the account, unless it is there already, and logs in.
func (c *demoClient) register(ctx context.Context, name string) error {
	err := c.do(ctx, http.MethodPost, "/api/auth/register/", "", map[string]string{"name": name, "email": c.email, "password": c.password}, nil)
	if answer, refused := errors.AsType[*apiAnswer](err); err != nil && (!refused || answer.status != http.StatusBadRequest) {
		return err
	}
	if failed := c.login(ctx); failed != nil {
		return errors.Join(err, failed)
	}
	return nil
}

func (c *demoClient) login(ctx context.Context) error {
	var tokens struct{ Access string }
	err := c.do(ctx, http.MethodPost, "/api/auth/login/", "", map[string]string{"username": c.email, "password": c.password}, &tokens)
	if answer, ok := errors.AsType[*apiAnswer](err); ok && answer.status == http.StatusUnauthorized {
		err = fmt.Errorf("%w; set "+demoPasswordVariable+" to the password of %s, or name another account with --email", err, c.email)
	}
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.access = tokens.Access
	return nil
}
