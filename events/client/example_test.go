package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/client"
)

func ExampleFollow() {
	var (
		ctx        = context.Background()
		checkpoint client.Checkpoint                            // that was stored
		login      func(context.Context) (string, error)        // answers an access token
		store      func(ctx context.Context, text string) error // stores it
	)
	connection, err := nats.Connect("nats://billing:password@127.0.0.1:4222", nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	err = client.Follow(ctx, client.Config{URL: "http://127.0.0.1:8000", Token: login, NATS: connection, Domain: "carelog", Logger: slog.Default()}, checkpoint,
		func(ctx context.Context, e client.Event) error {
			switch p := e.Payload.(type) {
			case events.PatientRegistered:
				fmt.Println(e.Position, "a new patient of user", p.OwnerID)
			}
			return store(ctx, e.Checkpoint().String()) // with what came of the event, in one transaction
		})
	log.Fatal(err)
}
