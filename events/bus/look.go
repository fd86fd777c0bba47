package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/carelog/carelog/events"
)

// StreamState is what there is of the NATS stream.
type StreamState struct {
	Server   string // its version
	Exists   bool
	Log      string          // the id of the log that it carries, "" for none
	Last     events.Position // of its last event, 0 for none
	Messages uint64
	Bytes    uint64
}

// Look connects once to the NATS servers of a URL and tells what is there; it
// changes nothing. Credentials do not get into its error.
func Look(ctx context.Context, url string) (StreamState, error) {
	secrets, err := urlSecrets(url)
	if err != nil {
		return StreamState{}, err
	}
	nc, err := nats.Connect(url, nats.Name("carelog doctor"), nats.Timeout(2*time.Second), nats.NoReconnect())
	if err != nil {
		return StreamState{}, errors.New(secrets.Replace(err.Error()))
	}
	defer nc.Close()
	state := StreamState{Server: nc.ConnectedServerVersion()}
	js, err := jetstream.New(nc)
	if err != nil {
		return state, fmt.Errorf("use JetStream: %w", err)
	}
	found, err := js.Stream(ctx, StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("look up the NATS stream %s: %w", StreamName, err)
	}
	info := found.CachedInfo()
	state.Exists, state.Log = true, info.Config.Metadata[logMetadata]
	state.Messages, state.Bytes = info.State.Msgs, info.State.Bytes
	if info.State.Msgs == 0 {
		return state, nil
	}
	last, err := found.GetMsg(ctx, info.State.LastSeq)
	if errors.Is(err, jetstream.ErrMsgNotFound) { // it was just removed
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("read the last message of the NATS stream %s: %w", StreamName, err)
	}
	state.Last = parsePosition(last.Header.Get(HeaderPosition))
	return state, nil
}
