// Command example prints the events of a Carelog, and goes on with what happens. It
// keeps how far it has come in a file, checkpoint.txt, and goes on there the next time.
//
//	CARELOG_URL=http://127.0.0.1:8000 CARELOG_EMAIL=john@example.com CARELOG_PASSWORD=securepassword123 go run .
//
// With NATS_URL, as of a subscriber of `carelog subscribers`, new events come over NATS, which
// carries all, so the user must be an auditor (`carelog users grant john@example.com auditor`);
// else over HTTP.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/client"
	"github.com/nats-io/nats.go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if os.Getenv("CARELOG_URL") == "" {
		return errors.New("set CARELOG_URL to where Carelog is, as http://127.0.0.1:8000, and CARELOG_EMAIL and CARELOG_PASSWORD to those of a user")
	}
	config := client.Config{URL: os.Getenv("CARELOG_URL"), Token: login, Logger: slog.Default()}
	if address := os.Getenv("NATS_URL"); address != "" {
		connection, err := nats.Connect(address, nats.MaxReconnects(-1))
		if err != nil {
			return err
		}
		defer connection.Close()
		config.NATS, config.Domain = connection, "carelog"
	}
	stored, _ := os.ReadFile(checkpointFile) // not there at first
	checkpoint, err := client.ParseCheckpoint(string(stored))
	if err != nil {
		return fmt.Errorf("%s: %w", checkpointFile, err)
	}
	err = client.Follow(ctx, config, checkpoint, func(_ context.Context, e client.Event) error {
		switch p := e.Payload.(type) {
		case events.PatientRegistered:
			fmt.Printf("%d: user %d has a new patient, %s %s\n", e.Position, p.OwnerID, p.FirstName, p.LastName)
		default:
			fmt.Printf("%d: %s %s\n", e.Position, e.Type, e.Subject)
		}
		return os.WriteFile(checkpointFile, []byte(e.Checkpoint().String()), 0o600)
	})
	_, other := errors.AsType[*client.OtherLogError](err)
	if _, back := errors.AsType[*client.WentBackError](err); other || back {
		return fmt.Errorf("%w: remove %s", err, checkpointFile)
	}
	return err
}

const checkpointFile = "checkpoint.txt"

// login answers an access token.
func login(ctx context.Context) (string, error) {
	body, err := json.Marshal(map[string]string{"username": os.Getenv("CARELOG_EMAIL"), "password": os.Getenv("CARELOG_PASSWORD")})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("CARELOG_URL")+"/api/auth/login/", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", &client.StatusError{Status: response.StatusCode, Body: string(body)}
	}
	var tokens struct{ Access string }
	err = json.Unmarshal(body, &tokens)
	return tokens.Access, err
}
