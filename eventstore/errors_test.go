package eventstore

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

func TestErrorsOfTheServerQuoteNoData(t *testing.T) {
	for code, unavailable := range map[string]bool{"23505": false, "22P02": false, "57P01": true, "53100": true, "08006": true, "55P03": true} {
		err := classify(&pgconn.PgError{Code: code, ConstraintName: "events_id_key", Message: `invalid: "Alice"`, Detail: "Key (name)=(Alice)"})
		if strings.Contains(err.Error(), "Alice") || !strings.Contains(err.Error(), code) {
			t.Errorf("%s: %v", code, err)
		}
		if errors.Is(err, events.ErrUnavailable) != unavailable {
			t.Errorf("%s: %v", code, err)
		}
	}
	if !errors.Is(classify(io.ErrUnexpectedEOF), events.ErrUnavailable) {
		t.Error("a lost connection is not unavailable")
	}
}
