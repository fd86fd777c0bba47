package accounts

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carelog/carelog/events"
)

// classify says what was being done, and makes an error that may pass by itself
// wrap [events.ErrUnavailable]: what the server says of its own state, and
// everything that is not the server's word, which is the network's. The
// server's detail, which can quote data, is left out.
func classify(doing string, err error) error {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case ok && !passing(refused.Code):
		return fmt.Errorf("%s: %s (SQLSTATE %s)", doing, refused.Message, refused.Code)
	case ok:
		return fmt.Errorf("%s: %w: %s (SQLSTATE %s)", doing, events.ErrUnavailable, refused.Message, refused.Code)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, events.ErrUnavailable, err)
}

// passing tells of an SQLSTATE whether the same statement may succeed later.
func passing(code string) bool {
	for _, class := range []string{
		"08",    // connection exception
		"25006", // read only: a standby after a failover
		"40",    // serialization failure, deadlock
		"53",    // insufficient resources: too many connections, disk full
		"55P03", // lock not available in time
		"57",    // operator intervention: shutdown, crash, not up yet, statement timeout
		"58",    // system error: an I/O error
	} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}
