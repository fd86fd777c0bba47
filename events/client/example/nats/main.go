// Command nats prints the events of a Carelog as they happen, from the first that the
// NATS stream has; started again, it goes on where it was. It needs nothing of Carelog
// but an address and a password.
//
//	go run ./nats nats://billing:PASSWORD@127.0.0.1:4222
package main

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: nats nats://<subscriber>:<password>@<host>:<port>")
	}
	address, err := url.Parse(os.Args[1])
	must(err)
	conn, err := nats.Connect(os.Args[1], nats.MaxReconnects(-1))
	must(err)
	js, err := jetstream.NewWithDomain(conn, "carelog")
	must(err)
	consumer, err := js.CreateOrUpdateConsumer(context.Background(), "CARELOG", jetstream.ConsumerConfig{
		Durable:       address.User.Username(), // a subscriber has one, of its own name
		MaxAckPending: 1,                       // in order, also after a crash
		AckWait:       5 * time.Second,         // until an event comes again that was not acknowledged
	})
	must(err)
	events, err := consumer.Messages()
	must(err)
	for {
		event, err := events.Next()
		must(err)
		fmt.Println(event.Headers().Get("Carelog-Position"), event.Subject(), string(event.Data()))
		must(event.Ack()) // it is handled
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
