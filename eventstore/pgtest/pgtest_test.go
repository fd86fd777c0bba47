package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestEachTestHasItsOwnMigratedDatabase(t *testing.T) {
	first, second := New(t), New(t)
	for _, url := range []string{first, second} {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var events int
		if err := conn.QueryRow(t.Context(), "select count(*) from events").Scan(&events); err != nil {
			t.Fatal(err)
		}
		if events != 0 {
			t.Fatalf("a fresh database holds %d events", events)
		}
		execute(t.Context(), t, conn, `insert into log (id, tag_key) values (gen_random_uuid(), decode(repeat('00', 32), 'hex'))`)
	}
}
