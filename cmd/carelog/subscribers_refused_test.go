package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// harm is a message that a subscriber must not get away with. API stands for the
// beginning of JetStream's subjects.
type harm struct {
	what, subject, reply, body string
}

// harms are against the event stream and against the durable consumer research, by
// the subscriber billing. The worst comes last.
var harms = []harm{
	{"an event", "carelog.events.patient.registered", "", "{}"},
	{"an answer as an event", "API.STREAM.INFO.CARELOG", "carelog.events.patient.registered", ""},
	{"no answer as an event", "API.CONSUMER.MSG.NEXT.CARELOG.billing", "carelog.events.patient.registered", `{"batch":1,"no_wait":true}`},
	{"an old event as a new one", "API.STREAM.MSG.GET.CARELOG", "carelog.events.patient.registered", `{"seq":1}`},
	{"another NATS stream", "API.STREAM.CREATE.OTHER", "", `{"name":"OTHER","subjects":["other"]}`},
	{"a NATS stream that copies", "API.STREAM.CREATE.COPY", "", `{"name":"COPY","sources":[{"name":"CARELOG"}]}`},
	{"an acknowledgement for another", "$JS.ACK.CARELOG.research.1.1.1.0.0", "", "+ACK"},
	{"a message for another", "API.CONSUMER.MSG.NEXT.CARELOG.research", "_INBOX.mine", `{"batch":1}`},
	{"a changed consumer", "API.CONSUMER.CREATE.CARELOG.research", "_INBOX.mine",
		`{"stream_name":"CARELOG","config":{"durable_name":"research","name":"research","ack_policy":"explicit","deliver_policy":"all","replay_policy":"instant","description":"changed"}}`},
	{"a changed consumer, the old way", "API.CONSUMER.DURABLE.CREATE.CARELOG.research", "_INBOX.mine",
		`{"stream_name":"CARELOG","config":{"durable_name":"research","ack_policy":"explicit","deliver_policy":"all","replay_policy":"instant","description":"changed again"}}`},
	{"a changed consumer, without its name in the subject", "API.CONSUMER.CREATE.CARELOG", "_INBOX.mine",
		`{"stream_name":"CARELOG","config":{"name":"research","ack_policy":"explicit","deliver_policy":"all","replay_policy":"instant","description":"changed once more"}}`},
	{"a request as another", "carelog.subscribers.research.research", "_INBOX.mine",
		`{"stream_name":"CARELOG","config":{"durable_name":"research","name":"research","ack_policy":"explicit","deliver_policy":"all","replay_policy":"instant","description":"of another"}}`},
	{"a consumer at rest", "API.CONSUMER.PAUSE.CARELOG.research", "", `{"pause_until":"2999-01-01T00:00:00Z"}`},
	{"a deleted consumer", "API.CONSUMER.DELETE.CARELOG.research", "", ""},
	{"a deleted message", "API.STREAM.MSG.DELETE.CARELOG", "", `{"seq":1}`},
	{"a changed NATS stream", "API.STREAM.UPDATE.CARELOG", "",
		`{"name":"CARELOG","subjects":["carelog.events.>"],"retention":"limits","storage":"file","num_replicas":1,"max_consumers":-1,"allow_direct":true,"max_age":3600000000000,"duplicate_window":100000000}`},
	{"a purged NATS stream", "API.STREAM.PURGE.CARELOG", "", ""},
	{"a deleted NATS stream", "API.STREAM.DELETE.CARELOG", "", ""},
}

func (h harm) send(t *testing.T, conn *nats.Conn, api string) {
	t.Helper()
	if strings.HasPrefix(h.reply, "_INBOX.") { // without somebody who waits there nothing is sent
		if _, err := conn.SubscribeSync(h.reply); err != nil {
			t.Fatal(err)
		}
	}
	subject := strings.Replace(h.subject, "API.", api, 1)
	if err := conn.PublishMsg(&nats.Msg{Subject: subject, Reply: h.reply, Data: []byte(h.body)}); err != nil {
		t.Fatal(err)
	}
}

// state tells of all that a subscriber could harm. That of a consumer is without what
// other consumers may change.
func state(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	var streams []string
	for name := range js.StreamNames(t.Context()).Name() {
		streams = append(streams, name)
	}
	text := fmt.Sprint(streams)
	if stream, err := js.Stream(t.Context(), "CARELOG"); err == nil {
		info := stream.CachedInfo()
		text += fmt.Sprint(info.Created, info.Config, info.State.FirstSeq, info.State.LastSeq, info.State.Msgs)
	}
	if consumer, err := js.Consumer(t.Context(), "CARELOG", "research"); err == nil {
		info := consumer.CachedInfo()
		text += fmt.Sprint(info.Created, info.Config, info.Delivered, info.AckFloor, info.NumAckPending, info.Paused)
	}
	return text
}

// prepareHarm gives research messages that it has not acknowledged yet, and
// billing a consumer.
func prepareHarm(t *testing.T) *subscribed {
	t.Helper()
	s := startSubscribed(t, "billing", "research")
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	for range 5 {
		s.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	for _, name := range []string{"billing", "research"} {
		_, js := s.as(t, name)
		consumer, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxAckPending: 10})
		if err != nil {
			t.Fatal(err)
		}
		count := 3
		if name == "billing" {
			count = 6
		}
		batch, err := consumer.Fetch(count)
		if err != nil {
			t.Fatal(err)
		}
		for range batch.Messages() {
			count--
		}
		if batch.Error() != nil || count != 0 {
			t.Fatalf("%d messages are missing: %v", count, batch.Error())
		}
	}
	return s
}

// TestSubscribersHarmNobody sends what could do harm. That it could is shown by
// TestTheOwnerCanDoHarm.
func TestSubscribersHarmNobody(t *testing.T) {
	t.Parallel()
	s := prepareHarm(t)
	_, owner := s.owner(t)
	before := state(t, owner)
	conn, js := s.as(t, "billing")
	conn.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // what is refused is told here
	for _, h := range harms {
		for _, api := range []string{"$JS.API.", "$JS.carelog.API."} {
			h.send(t, conn, api)
			// An answer tells that all before was dealt with.
			if _, err := js.CreateOrUpdateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxAckPending: 10}); err != nil {
				t.Fatal(err)
			}
			if after := state(t, owner); after != before {
				t.Errorf("%s, at %s:\nbefore %s\nafter  %s", h.what, api, before, after)
				before = after
			}
		}
	}
}

// TestTheOwnerCanDoHarm by the very same messages.
func TestTheOwnerCanDoHarm(t *testing.T) {
	t.Parallel()
	s := prepareHarm(t)
	conn, js := s.owner(t)
	for _, h := range harms {
		before := state(t, js)
		h.send(t, conn, "$JS.API.")
		eventually(t, h.what, 5*time.Second, func() bool { return state(t, js) != before })
	}
}

// TestSubscribersSeeNothingOfEachOther: neither consumers nor inboxes.
func TestSubscribersSeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	s := prepareHarm(t)
	var refused sync.Map
	billing, _ := s.as(t, "billing")
	billing.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused.Store(err.Error(), true) })
	listening, err := billing.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	colleague, _ := s.as(t, "research")
	control, err := colleague.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*nats.Conn{billing, colleague} {
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	_, research := s.as(t, "research")
	consumer, err := research.Consumer(t.Context(), "CARELOG", "research")
	if err != nil {
		t.Fatal(err)
	}
	mustBeFrom(t, positions(t, consumer, 3), 4)
	if _, err := control.NextMsg(5 * time.Second); err != nil {
		t.Errorf("one's own inboxes are not seen either: %v", err)
	}
	if err := billing.Flush(); err != nil {
		t.Fatal(err)
	}
	if count, _, err := listening.Pending(); err != nil || count > 0 {
		t.Errorf("%d messages of another's inbox, %v", count, err)
	}
	for _, subject := range []string{"CONSUMER.INFO.CARELOG.research", "CONSUMER.NAMES.CARELOG", "CONSUMER.LIST.CARELOG", "STREAM.LIST"} {
		if got, err := billing.Request("$JS.carelog.API."+subject, nil, 200*time.Millisecond); err == nil {
			t.Errorf("%s is answered: %s", subject, got.Data)
		}
	}
	for _, subject := range []string{">", "carelog.events.>", "$JS.>", "$SYS.>", "_R_.>"} {
		if _, err := billing.Subscribe(subject, func(msg *nats.Msg) { t.Errorf("%s came", msg.Subject) }); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("nats: permissions violation: Permissions Violation for Subscription to %q", subject)
		eventually(t, subject+" is refused", 5*time.Second, func() bool {
			_, ok := refused.Load(want)
			return ok
		})
	}
}
