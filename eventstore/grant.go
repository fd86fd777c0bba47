package eventstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// grantSQL is what a server needs, for a role called carelog_app; the README shows the
// same. It can add to the log, and neither change nor delete what is in it.
//
//go:embed grant.sql
var grantSQL string

// Grant lets a role serve on a database that was migrated, and no more than that. A
// later migration may bring tables, so it is to be done after each.
func Grant(ctx context.Context, conn *pgx.Conn, role string) error {
	_, err := conn.Exec(ctx, strings.ReplaceAll(grantSQL, "carelog_app", pgx.Identifier{role}.Sanitize()))
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "42704" { // undefined object
		return fmt.Errorf("there is no role %s: make it by `create role %s login`, with a password", role, pgx.Identifier{role}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("grant role %s what a server needs: %w", role, err) // in full: no data is at hand
	}
	return nil
}
