package bus

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go/jetstream"
)

// TestWatermillSuite runs Watermill's own conformance suite, which expects one
// message per event and publishers that know nothing of each other: batch size
// 1, and no fence.
func TestWatermillSuite(t *testing.T) {
	conn := testBus(t)
	_, err := conn.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SUITE", Subjects: []string{"suite.>"}})
	if err != nil {
		t.Fatal(err)
	}
	tests.TestPubSub(t,
		tests.Features{
			ConsumerGroups:                   false, // an ordered consumer has one reader
			ExactlyOnceDelivery:              false,
			GuaranteedOrder:                  true,
			Persistent:                       true,
			NewSubscriberReceivesOldMessages: true,
			ForceShort:                       true, // hundreds of messages; with thousands it takes 10 seconds under -race
			GenerateTopicFunc:                func(test tests.TestContext) string { return "suite." + test.TestID.String() },
		},
		func(*testing.T) (message.Publisher, message.Subscriber) {
			publisher := NewPublisher(PublisherConfig{Conn: conn})
			subscriber := NewSubscriber(SubscriberConfig{
				Conn:      conn,
				Stream:    "SUITE",
				MaxEvents: 1,
				NackDelay: time.Millisecond,
				Logger:    slog.New(slog.DiscardHandler),
			})
			// The suite closes most, not all.
			t.Cleanup(func() { subscriber.Close() })
			return publisher, subscriber
		},
		nil,
	)
}
