package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

// Config says whom to follow. URL and Token are needed.
type Config struct {
	URL   string                                // of the API, like "https://carelog.example.com"
	Token func(context.Context) (string, error) // answers an access token that is valid; asked again when one was refused. With NATS it must be an auditor's

	NATS   *nats.Conn // to the NATS that Carelog publishes to; it is lent. Default nil: everything comes over HTTP
	Stream string     // the NATS stream; default "CARELOG"
	Domain string     // the JetStream domain: "carelog" for who has an account of `carelog subscribers`; default none
	Name   string     // begins the names of consumers, where the account's permissions ask for that; default none

	Log   uuid.UUID     // whose positions these are, which is in every event; needed to go on after a position
	Types []events.Type // only events of these types; default all
	Tags  []events.Tag  // only events that have all of these tags; default all

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

// OtherLogError is answered when events of another log come than those that were
// expected.
type OtherLogError struct{ Want, Got uuid.UUID }

func (e *OtherLogError) Error() string {
	return fmt.Sprintf("the events are of log %s, and positions of log %s were to be followed: start over from position 0", e.Got, e.Want)
}

// BeyondError is answered when the log ends before the position to go on after: it
// was put back to an earlier state.
type BeyondError struct{ Position, Head events.Position }

func (e *BeyondError) Error() string {
	return fmt.Sprintf("the log ends at position %d, before position %d to go on after: start over from position 0", e.Head, e.Position)
}

// StatusError is answered when the API refuses: the token may not, or the request is
// wrong. What passes is tried again instead.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("Carelog answers %d: %s", e.Status, e.Body) }

// Follow hands over the events after a position, one after the other, until the
// context ends or the handler fails; it returns that error. It also fails with an
// [OtherLogError], a [BeyondError], a [StatusError] or [ErrNotAll].
func Follow(ctx context.Context, config Config, after events.Position, handle func(context.Context, Event) error) error {
	f, err := newFollower(config, after, handle)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		before := f.position
		err := f.catchUp(ctx)
		if err == nil {
			err = f.live(ctx)
		}
		if err == nil || f.position > before {
			try = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, passes := errors.AsType[*passing](err); err != nil && !passes {
			return err
		}
		if err != nil {
			f.config.Logger.Warn("following events failed, trying again", "position", f.position, "error", err)
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
	position events.Position // everything up to here was handed over, or is not asked for
	handle   func(context.Context, Event) error
	token    string
}

func newFollower(config Config, after events.Position, handle func(context.Context, Event) error) (*follower, error) {
	if config.URL == "" || config.Token == nil {
		return nil, errors.New("follow events: URL and Token are needed")
	}
	if after > 0 && config.Log == uuid.Nil {
		return nil, errors.New("follow events: to go on after a position, set Config.Log to the Event.Log that came with it: a position of another log means another event")
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
	return &follower{config: config, registry: events.NewRegistry(), position: after, handle: handle}, nil
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
	if recorded.Position <= f.position {
		return nil
	}
	if f.wants(recorded) {
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
	f.position = recorded.Position
	return nil
}

// checkLog makes sure that all events are of one log: the one that was asked for, or
// else that of the first event.
func (f *follower) checkLog(log uuid.UUID) error {
	if f.config.Log == uuid.Nil {
		f.config.Log = log
	}
	if log != f.config.Log {
		return &OtherLogError{Want: f.config.Log, Got: log}
	}
	return nil
}

func (f *follower) wantsAll() bool { return len(f.config.Types) == 0 && len(f.config.Tags) == 0 }

func (f *follower) wants(e events.Recorded) bool {
	if len(f.config.Types) > 0 && !slices.Contains(f.config.Types, e.Type) {
		return false
	}
	for _, tag := range f.config.Tags {
		if !slices.Contains(e.Tags, tag) {
			return false
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
