package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

const (
	// ReplayPrefix begins the NATS subject of every event that is replayed, unless
	// another is asked for; the replay's id, entity and action follow:
	// "carelog.replay.5f3a9c1e.patient.registered".
	ReplayPrefix = "carelog.replay"

	// HeaderReplay tells a replayed event from a new one: it is the replay's id, and
	// new events have none.
	HeaderReplay = "Carelog-Replay"
)

// Replay publishes events once more, on subjects of their own. These are never those
// of the NATS stream that carries the log: that must hold each event once and in order,
// and whoever follows it would take old events for new ones.
//
// Where a NATS stream stores the subjects, which somebody made for that, each event is
// acknowledged by it. Else it reaches those who are subscribed, and is gone.
type Replay struct {
	conn    *Conn
	prefix  string // with the replay's id
	id      string
	stored  string // the NATS stream that stores the subjects, "" for none
	publish *Publisher
}

// CheckReplayPrefix reports what makes a subject prefix unusable.
func CheckReplayPrefix(prefix string) error {
	for token := range strings.SplitSeq(prefix, ".") {
		if token == "" || strings.ContainsAny(token, " \t\r\n*>$") {
			return fmt.Errorf("%q is no prefix of NATS subjects: write words with dots between them, as %s", prefix, ReplayPrefix)
		}
	}
	if prefix == SubjectPrefix || strings.HasPrefix(prefix, SubjectPrefix+".") {
		return fmt.Errorf("the subjects below %s are those of new events: replay to others", SubjectPrefix)
	}
	return nil
}

// connectWithin is how long a replay waits for NATS.
const connectWithin = 10 * time.Second

// OpenReplay waits for the connection, for ten seconds at most.
func OpenReplay(ctx context.Context, conn *Conn, prefix string) (*Replay, error) {
	if err := CheckReplayPrefix(prefix); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if err := conn.await(ctx); err != nil {
		return nil, err
	}
	id := uuid.New().String()[:8]
	r := &Replay{conn: conn, id: id, prefix: prefix + "." + id, publish: NewPublisher(PublisherConfig{Conn: conn})}
	stored, err := conn.js.StreamNameBySubject(ctx, r.prefix+".>")
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders): // the last: a server without JetStream
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("ask which NATS stream stores %s: %s", r.prefix, conn.redact(err))
	}
	r.stored = stored
	return r, nil
}

// ID is the replay's, in its subjects and headers.
func (r *Replay) ID() string { return r.id }

// Subjects is the filter that selects all events of the replay.
func (r *Replay) Subjects() string { return r.prefix + ".>" }

// Stream is the NATS stream that stores the events, "" for none.
func (r *Replay) Stream() string { return r.stored }

// Publish publishes events, and returns when the NATS server has them, or the NATS
// stream where there is one. After an error it is open which of them arrived.
func (r *Replay) Publish(ctx context.Context, log uuid.UUID, evs []events.Recorded) error {
	if r.stored == "" {
		return r.send(ctx, log, evs)
	}
	msgs := make([]*message.Message, len(evs))
	for i, e := range evs {
		msgs[i] = Encode(log, replayed(e))
		msgs[i].Metadata[subjectKey] = r.prefix + "." + string(e.Type)
		msgs[i].Metadata[HeaderReplay] = r.id
		msgs[i].SetContext(ctx)
	}
	return r.publish.Publish(r.prefix, msgs...)
}

// replayed is the event by itself: who reads a part of the log might wait for the end of
// its group in vain.
func replayed(e events.Recorded) events.Recorded {
	e.GroupEnd = 0
	return e
}

// send publishes the same messages to whoever is subscribed. Nobody acknowledges them, so
// they take no detour over Watermill's messages: it would make a replay half as long again.
func (r *Replay) send(ctx context.Context, log uuid.UUID, evs []events.Recorded) error {
	for _, e := range evs {
		msg := &nats.Msg{Subject: r.prefix + "." + string(e.Type), Data: payload(log, e), Header: nats.Header{}}
		setHeaders(log, replayed(e), msg.Header.Set)
		msg.Header.Set(HeaderUUID, e.ID.String())
		msg.Header.Set(HeaderReplay, r.id)
		if err := r.conn.nc.PublishMsg(msg); err != nil {
			return r.publish.failed(Encode(log, e), err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.publish.ackWait)
	defer cancel()
	if err := r.conn.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("publish to NATS: %w", err)
	}
	return nil
}

// Close ends the replay. It leaves the connection open.
func (r *Replay) Close() error { return r.publish.Close() }
