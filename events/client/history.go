package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/cloudevent"
)

// requestTimeout bounds a page.
const requestTimeout = 30 * time.Second

// page is what the API answers.
type page struct {
	Results    []json.RawMessage `json:"results"`
	Next, Head events.Position
	NextID     uuid.UUID `json:"next_id"` // of the event at Next, which may be none that is asked for
	Source     string    // the log, though no event is asked for
	All        bool      // the user sees all events
}

// catchUp hands over what is in the log, up to its head.
func (f *follower) catchUp(ctx context.Context) error { return f.fill(ctx, 0) }

// ErrNotAll is answered where all events are wanted ([Config].All), or come over NATS, which
// carries all, and the API does not show all to the token's user: what that hides would be
// missing without a word.
var ErrNotAll = errors.New("the API shows the token's user only a part of the events: make the user an auditor")

// ErrViewChanged is answered when the API shows the token's user all events and did not
// before, or no longer does: as the user was made an auditor, or is none any more. What was
// hidden from then on, or until then, was not handed over.
var ErrViewChanged = errors.New("the API shows the token's user other events than when following began: all of them, or no longer all")

// fill hands over what is in the log up to a position, if it has come so far; 0: to the head.
func (f *follower) fill(ctx context.Context, until events.Position) error {
	for {
		page, err := f.page(ctx)
		if err != nil {
			return err
		}
		log, err := cloudevent.LogOf(page.Source)
		if err != nil {
			return fmt.Errorf("follow events: a page of them: %w", err)
		}
		if err := f.checkLog(log); err != nil {
			return err
		}
		if err := f.checkView(page.All); err != nil {
			return err
		}
		for _, document := range page.Results {
			if err := f.take(ctx, document); err != nil {
				return err
			}
		}
		if page.Next > f.at.Position {
			f.at.Position, f.at.ID = page.Next, page.NextID
		}
		if f.at.Position >= page.Head || until > 0 && f.at.Position >= until {
			return nil
		}
	}
}

// checkView makes sure that what the user sees is what is wanted, and stays the same.
func (f *follower) checkView(all bool) error {
	switch {
	case !all && (f.config.All || f.config.NATS != nil):
		return ErrNotAll
	case f.asked && all != f.all:
		return ErrViewChanged
	}
	f.asked, f.all = true, all
	return nil
}

// page asks for the next page. A token that is refused is asked for anew, once.
func (f *follower) page(ctx context.Context) (page, error) {
	for {
		fresh := f.token == ""
		if fresh {
			token, err := f.config.Token(ctx)
			if refused, ok := errors.AsType[*StatusError](err); ok && !refused.passes() {
				return page{}, fmt.Errorf("get a token: %w", err)
			}
			if err != nil {
				return page{}, &passing{fmt.Errorf("get a token: %w", err)}
			}
			f.token = token
		}
		answer, err := f.ask(ctx)
		if refused, ok := errors.AsType[*StatusError](err); ok && refused.Status == http.StatusUnauthorized && !fresh {
			f.token = ""
			continue
		}
		return answer, err
	}
}

func (f *follower) ask(ctx context.Context) (answer page, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	query := url.Values{"after": {strconv.FormatInt(int64(f.at.Position), 10)}, "limit": {"1000"}}
	if f.at.Position > 0 {
		query.Set("after_id", f.at.ID.String())
	}
	if len(f.config.Types) > 0 {
		query.Set("types", joined(f.config.Types))
	}
	if len(f.config.Tags) > 0 {
		query.Set("tags", joined(f.config.Tags))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(f.config.URL, "/")+"/api/events/?"+query.Encode(), nil)
	if err != nil {
		return page{}, fmt.Errorf("follow events: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+f.token)
	request.Header.Set("Accept", "application/json")
	response, err := f.config.HTTP.Do(request)
	if err != nil {
		return page{}, &passing{err}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		if response.StatusCode == http.StatusConflict {
			return page{}, f.conflict(body)
		}
		refused := &StatusError{response.StatusCode, string(body)}
		if refused.passes() {
			return page{}, &passing{refused}
		}
		return page{}, refused
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return page{}, &passing{fmt.Errorf("read a page of events: %w", err)}
	}
	return answer, nil
}

// conflict is why the log does not have what was handed over last.
func (f *follower) conflict(body []byte) error {
	var answer struct{ Source string }
	if json.Unmarshal(body, &answer) == nil {
		if log, err := cloudevent.LogOf(answer.Source); err == nil && log != f.at.Log {
			return &OtherLogError{Want: f.at.Log, Got: log}
		}
	}
	return &WentBackError{Last: f.at}
}

func joined[S ~string](texts []S) string {
	list := make([]string, len(texts))
	for i, text := range texts {
		list[i] = string(text)
	}
	return strings.Join(list, ",")
}
