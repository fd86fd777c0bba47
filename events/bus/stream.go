package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// StreamName is the name of the NATS stream.
const StreamName = "CARELOG"

// logMetadata is the key in the NATS stream's metadata that holds the log's id.
const logMetadata = "carelog-log"

// StreamConfig bounds the NATS stream. What it does not keep is still in the
// log.
type StreamConfig struct {
	MaxAge   time.Duration // default 3 days
	MaxBytes int64         // default 256 MiB
	Replicas int           // default 1; 3 in a NATS cluster
}

func (c *StreamConfig) setDefaults() {
	if c.MaxAge == 0 {
		c.MaxAge = 3 * 24 * time.Hour
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 256 << 20
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
}

// OtherLogError is answered when the NATS stream, or a message on it, belongs
// to another log than this program's: the database was restored or imported,
// or two installations share one NATS server.
type OtherLogError struct {
	Log   uuid.UUID // this program's
	Found string    // the id of the other log
}

func (e *OtherLogError) Error() string {
	return fmt.Sprintf("the NATS stream %s carries the log %s, but the log in this database is %s: "+
		"if that log is in use elsewhere, give this one a NATS server or account of its own; "+
		"if it is not (a database was restored or replaced), delete the NATS stream (nats stream rm %[1]s) and it is filled anew",
		StreamName, e.Found, e.Log)
}

// ForeignEventError is answered when the NATS stream ends with an event that is
// not in the log, although the log's id is the same: the database was restored
// to an older state, is a copy, or lost its last commits in a failover.
type ForeignEventError struct {
	Position events.Position // of the event on the NATS stream
}

func (e *ForeignEventError) Error() string {
	return fmt.Sprintf("the NATS stream %s ends with an event at position %d that is not in the log: "+
		"if this database is a copy of one in use, give it a new log id and a NATS server or account of its own; "+
		"if it was restored to an older state, give it a new log id; then, or if a failover lost its last commits, delete the NATS stream (nats stream rm %[1]s), and it is filled anew",
		StreamName, e.Position)
}

// ensureStream returns the NATS stream with up-to-date information. One that
// is missing is created, one that is configured otherwise is updated, one of
// another log is refused with *OtherLogError.
func ensureStream(ctx context.Context, js jetstream.JetStream, cfg StreamConfig, log uuid.UUID) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return createStream(ctx, js, wanted(jetstream.StreamConfig{}, cfg, log))
	}
	if err != nil {
		return nil, fmt.Errorf("look up the NATS stream %s: %w", StreamName, err)
	}
	have := stream.CachedInfo().Config
	if found := have.Metadata[logMetadata]; found != "" && found != log.String() {
		return nil, &OtherLogError{Log: log, Found: found}
	}
	want := wanted(have, cfg, log)
	if reflect.DeepEqual(have, want) {
		return stream, nil
	}
	stream, err = js.UpdateStream(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("update the NATS stream %s: %w", StreamName, explain(err))
	}
	return stream, nil
}

// createStream tries for a while where the server can not make the stream's files. When
// the last stream of an account was deleted, the server removes the account's empty
// directories in the background, possibly from under the new stream.
func createStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	for try := 1; ; try++ {
		stream, err := js.CreateStream(ctx, cfg)
		if err == nil {
			return stream, nil
		}
		if code(err) != noFiles || try == 10 {
			return nil, fmt.Errorf("create the NATS stream %s: %w", cfg.Name, explain(err))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Codes of NATS for a stream that cannot be.
const (
	noRoom  jetstream.ErrorCode = 10047 // it is to have more room than the server may take
	noFiles jetstream.ErrorCode = 10049 // its files cannot be made
)

// code is that of an error that the NATS server answered, 0 for any other.
func code(err error) jetstream.ErrorCode {
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok {
		return refused.ErrorCode
	}
	return 0
}

// explain tells what to do about an error, where that is known.
func explain(err error) error {
	switch code(err) {
	case noRoom:
		return fmt.Errorf("%w: lower CARELOG_STREAM_MAX_BYTES, or give JetStream more room (max_file_store of the NATS server, and the disk)", err)
	case noFiles:
		return fmt.Errorf("%w: the log of the NATS server tells why (its store_dir must be writable, and its disk have room)", err)
	}
	return err
}

// wanted is the configuration have with our settings; all others stay.
func wanted(have jetstream.StreamConfig, cfg StreamConfig, log uuid.UUID) jetstream.StreamConfig {
	have.Name = StreamName
	have.Subjects = []string{AllSubjects}
	have.Retention = jetstream.LimitsPolicy
	have.Discard = jetstream.DiscardOld
	have.Storage = jetstream.FileStorage
	have.MaxAge = cfg.MaxAge
	have.MaxBytes = cfg.MaxBytes
	have.Replicas = cfg.Replicas
	have.AllowDirect = false // a request of that kind is for many messages at once, which wait in memory
	// No message has a Nats-Msg-Id; this is the shortest window NATS takes.
	have.Duplicates = 100 * time.Millisecond
	have.Metadata = maps.Clone(have.Metadata)
	if have.Metadata == nil {
		have.Metadata = map[string]string{}
	}
	have.Metadata[logMetadata] = log.String()
	return have
}

// sequenceAfter finds where on the NATS stream the first event after the
// position stands. It is a guess, good enough to start reading at: positions
// are gapless and normally grow with the sequences, so the distance in positions
// is the distance in sequences. Where the messages there say otherwise it
// answers the first sequence of the NATS stream. Who reads from there must
// check positions anyway.
func sequenceAfter(ctx context.Context, stream jetstream.Stream, after events.Position) (uint64, error) {
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return state.LastSeq + 1, nil
	}
	want := int64(after) + 1
	seq := state.LastSeq
	for range 4 { // more than the second only where messages are out of line
		msg, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return state.FirstSeq, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read message %d of the NATS stream: %w", seq, err)
		}
		position := int64(parsePosition(msg.Header.Get(HeaderPosition)))
		switch {
		case position == want:
			return seq, nil
		case position == 0:
			return state.FirstSeq, nil
		case seq == state.LastSeq && position < want:
			return seq + 1, nil
		}
		next := int64(seq) + want - position
		if next <= int64(state.FirstSeq) || next > int64(state.LastSeq) {
			return state.FirstSeq, nil
		}
		seq = uint64(next)
	}
	return state.FirstSeq, nil
}
