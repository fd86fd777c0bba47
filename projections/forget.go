package projections

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Forget takes note, in the caller's transaction, that the database has another log
// from now on: no projection has followed it yet. Rows that are left of the old one
// have to be rebuilt.
func Forget(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `delete from projections.checkpoints`); err != nil {
		return fmt.Errorf("forget the checkpoints: %w", classify(err))
	}
	return nil
}
