package commands

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/carelog/carelog/events"
)

// Idempotency names a request that its sender may send again, not knowing
// whether it arrived. However often that happens, and however many of them run
// at once, the command is carried out once, and every answer is the first one's:
// made of the events that it led to and the history before them, whatever
// happened to the record since. Refusals, and commands that changed nothing,
// led to no event and are decided anew.
//
// None of the texts may hold a NUL.
type Idempotency struct {
	Key    string // chosen by the client; empty: each request counts
	Method string
	Path   string // without a final slash
}

// repeatable is a command with an idempotency key; the zero value is one without.
type repeatable struct {
	tag         events.Tag
	fingerprint string
}

// repeatable tells by what the command is known again.
//
// The fingerprint is of the command, not of the bytes that it came in, so the
// same fields in another order or notation are the same request. It is keyed by
// the client's key too, which is in no event: from the fingerprint alone nobody
// can tell whether a guess at the fields is right, nor whether two requests had
// the same.
func (s *Service) repeatable(caller Caller, command any) (repeatable, error) {
	request := caller.Idempotency
	if request.Key == "" {
		return repeatable{}, nil
	}
	fields, err := json.Marshal(command)
	if err != nil {
		return repeatable{}, fmt.Errorf("take a command's fingerprint: %w", err)
	}
	mac := hmac.New(sha256.New, s.TagKey)
	mac.Write([]byte("fingerprint\x00" + request.Key + "\x00"))
	mac.Write(fields)
	return repeatable{
		tag:         s.TagKey.Idempotency(caller.UserID, request.Method, request.Path, request.Key),
		fingerprint: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
	}, nil
}

// extend makes a query select the command's own event as well.
func (r repeatable) extend(query events.Query) events.Query {
	if r.tag == "" {
		return query
	}
	return append(slices.Clip(query), events.QueryItem{Tags: []events.Tag{r.tag}})
}

// carriedOut tells whether the history has the events of an earlier request
// with this key: where they end in it, else 0. It fails with ErrKeyReused when
// that request asked for something else.
func (r repeatable) carriedOut(history []fact) (end int, err error) {
	if r.tag == "" {
		return 0, nil
	}
	first := slices.IndexFunc(history, func(f fact) bool { return slices.Contains(f.Tags, r.tag) })
	if first < 0 {
		return 0, nil
	}
	metadata, err := history[first].DecodeMetadata()
	if err != nil {
		return 0, err
	}
	if metadata.Fingerprint != r.fingerprint {
		return 0, ErrKeyReused
	}
	// What else the command led to follows directly and names its cause.
	cause := history[first].ID.String()
	for end = first + 1; end < len(history); end++ {
		metadata, err := history[end].DecodeMetadata()
		if err != nil {
			return 0, err
		}
		if metadata.CausationID != cause {
			break
		}
	}
	return end, nil
}
