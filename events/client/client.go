package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

// Config says whom to follow. URL and Token are needed.
type Config struct {
	URL   string                                // of the API, like "https://carelog.example.com"
	Token func(context.Context) (string, error) // answers an access token that is valid; asked again when one was refused. A [StatusError] of it that will not pass ends Follow

	NATS   *nats.Conn // to the NATS that Carelog publishes to; it is lent. Default nil: everything comes over HTTP
	Stream string     // the NATS stream; default "CARELOG"
	Domain string     // the JetStream domain: "carelog" for who has an account of `carelog subscribers`; default none

	Types []events.Type // only events of these types; default all
	Tags  []events.Tag  // only events that have all of these tags; default all

	All bool // the token's user must see all events, as an auditor does, or else Follow ends with [ErrNotAll]; always so with NATS

	HTTP   *http.Client  // default http.DefaultClient
	Poll   time.Duration // how often HTTP is asked for more while nothing comes over NATS; default 2 seconds
	Logger *slog.Logger  // is told what is tried again; default none
}

// Event is an event as it is handed over.
type Event struct {
	Log           uuid.UUID
	Position      events.Position
	ID            uuid.UUID
	Type          events.Type
	SchemaVersion int
	Subject       string // the record that it is about, like "patient/42"
	Tags          []events.Tag
	RecordedAt    time.Time
	Metadata      events.Metadata // actor, correlation, cause, request, trace
	Data          json.RawMessage
	Payload       events.Payload // of Data, always of the current schema version; nil for a type that is unknown here
}

// Checkpoint is that of who has handled the event, and all before it.
func (e Event) Checkpoint() Checkpoint { return Checkpoint{e.Log, e.Position, e.ID} }

// OtherLogError is answered when events of another log come than those that were
// expected.
type OtherLogError struct{ Want, Got uuid.UUID }

func (e *OtherLogError) Error() string {
	return fmt.Sprintf("the events are of log %s, and log %s was followed: start over from the first event, with the zero Checkpoint", e.Got, e.Want)
}

// WentBackError is answered when the log does not have the last event that was handled,
// or read over: it was put back to an earlier state, and other events have, or will have,
// the positions of those that were lost.
type WentBackError struct{ Last Checkpoint }

func (e *WentBackError) Error() string {
	return fmt.Sprintf("event %s is not in the log at position %d any more, which was put back to an earlier state: start over from the first event, with the zero Checkpoint",
		e.Last.ID, e.Last.Position)
}

// StatusError is answered when the API refuses: the user may not, or the request is
// wrong. What passes (429, 500 and above) is tried again instead.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) passes() bool {
	return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
}

func (e *StatusError) Error() string { return fmt.Sprintf("Carelog answers %d: %s", e.Status, e.Body) }

// Follow hands over the events after a checkpoint, one after the other, until the
// context ends or the handler fails; it returns that error. It also fails with an
// [OtherLogError], a [WentBackError], a [StatusError], [ErrNotAll] or [ErrViewChanged].
func Follow(ctx context.Context, config Config, after Checkpoint, handle func(context.Context, Event) error) error {
	f, err := newFollower(config, after, handle)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		before := f.at
		err := f.catchUp(ctx)
		if err == nil {
			err = f.live(ctx)
		}
		if err == nil || f.at != before {
			try = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, passes := errors.AsType[*passing](err); err != nil && !passes {
			return err
		}
		if err != nil {
			f.config.Logger.Warn("following events failed, trying again", "position", f.at.Position, "error", err)
			pause(ctx, min(100*time.Millisecond<<min(try, 5), 2*time.Second))
		}
	}
}

// passing is an error after which the same may succeed.
type passing struct{ error }

func (p *passing) Unwrap() error { return p.error }

// follower is one call of Follow.
type follower struct {
	config   Config
	registry *events.Registry
	at       Checkpoint // everything up to here was handed over, or is not asked for
	handle   func(context.Context, Event) error
	token    string
	told     string // why NATS cannot be followed
	asked    bool   // for a page
	all      bool   // the user sees all events, as the first page told
}

func newFollower(config Config, after Checkpoint, handle func(context.Context, Event) error) (*follower, error) {
	if config.URL == "" || config.Token == nil {
		return nil, errors.New("follow events: URL and Token are needed")
	}
	if after != (Checkpoint{}) {
		if err := after.check(); err != nil {
			return nil, fmt.Errorf("follow events: %w: store Event.Checkpoint", err)
		}
	}
	if config.Stream == "" {
		config.Stream = "CARELOG"
	}
	if config.HTTP == nil {
		config.HTTP = http.DefaultClient
	}
	if config.Poll == 0 {
		config.Poll = 2 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &follower{config: config, registry: events.NewRegistry(), at: after, handle: handle}, nil
}

// take hands a document over, unless that was done or it is not asked for.
func (f *follower) take(ctx context.Context, document []byte) error {
	e, err := cloudevent.Parse(document)
	if err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	if err := f.checkLog(e.Log); err != nil {
		return err
	}
	recorded := e.Recorded
	if recorded.Position == f.at.Position && recorded.ID != f.at.ID {
		return &WentBackError{Last: f.at}
	}
	if recorded.Position <= f.at.Position {
		return nil
	}
	wanted := events.QueryItem{Types: f.config.Types, Tags: f.config.Tags}
	if wanted.Matches(recorded.Type, recorded.Tags) {
		payload, err := f.registry.Decode(recorded.Event)
		if _, unknown := errors.AsType[*events.UnknownTypeError](err); err != nil && !unknown {
			return fmt.Errorf("follow events: position %d: %w", recorded.Position, err)
		}
		err = f.handle(ctx, Event{
			Log: e.Log, Position: recorded.Position, ID: recorded.ID, Type: recorded.Type, SchemaVersion: recorded.SchemaVersion,
			Subject: recorded.Subject(), Tags: recorded.Tags, RecordedAt: recorded.RecordedAt, Metadata: e.Metadata,
			Data: recorded.Data, Payload: payload,
		})
		if err != nil {
			return err
		}
	}
	f.at.Position, f.at.ID = recorded.Position, recorded.ID
	return nil
}

// checkLog makes sure that all events are of one log: the checkpoint's, or else that of
// the first page.
func (f *follower) checkLog(log uuid.UUID) error {
	if f.at.Log == uuid.Nil {
		f.at.Log = log
	}
	if log != f.at.Log {
		return &OtherLogError{Want: f.at.Log, Got: log}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
