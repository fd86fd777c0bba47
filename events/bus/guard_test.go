package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestASubscriberKeepsNoOtherWaiting: however much one asks of the Guard, another is
// answered at once. What is more than the first may ask is refused.
func TestASubscriberKeepsNoOtherWaiting(t *testing.T) {
	conn := testBus(t)
	newCarrier(t, conn) // makes the NATS stream
	ctx, stop := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error {
		return NewGuard(conn, slog.New(slog.DiscardHandler)).Run(ctx)
	})
	defer func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	}()
	ask := func(subscriber, name string) string {
		body := fmt.Sprintf(`{"stream_name": "CARELOG", "config": {"name": %q, "ack_policy": "none", "mem_storage": true}}`, name)
		answer, err := conn.nc.Request(GuardSubject+"."+subscriber+"."+name, []byte(body), 5*time.Second)
		if err != nil {
			return err.Error()
		}
		return string(answer.Data)
	}
	eventually(t, "the Guard answers", func() bool { return strings.Contains(ask("research", "abcdefgh"), `"name":"abcdefgh"`) })

	inbox := conn.nc.NewInbox()
	answers, err := conn.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			subject := fmt.Sprintf("%s.billing.flood%05d", GuardSubject, i)
			if err := conn.nc.PublishRequest(subject, inbox, []byte(`{"stream_name": "CARELOG", "config": {"deliver_subject": "x"}}`)); err != nil {
				return err
			}
			if i%20 == 0 { // some 10,000 a second
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	})
	for i := range 10 {
		name := fmt.Sprintf("research%d", i)
		if answer := ask("research", name); !strings.Contains(answer, `"name":"`+name+`"`) {
			t.Errorf("beside a flood of requests %s is answered %s", name, answer)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		answer, err := answers.NextMsg(time.Second)
		if err == nil && strings.Contains(string(answer.Data), "requests of this subscriber are waiting") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing of the flood was refused for being too much")
		}
	}
}
