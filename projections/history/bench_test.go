package history

import (
	"testing"

	"github.com/carelog/carelog/events"
)

// BenchmarkReader measures answers from a log of a million events: the whole history
// of an entity of 1000 events, and how lists were in the middle of it.
func BenchmarkReader(b *testing.B) {
	reader, pool := newReader(b)
	const n = 1_000_000
	fill(b, pool, n)
	const then = events.Position(n / 2)
	for _, c := range []struct {
		name string
		rows int // of the answer, at least
		read func() (rows int, err error)
	}{
		{"history of a patient of 1000 events", 1000, func() (int, error) {
			page, err := reader.History(b.Context(), Subject{events.Patient, 1}, Viewer{User: 1}, 0, 1000)
			return len(page.Entries), err
		}},
		{"its last page of 10", 10, func() (int, error) {
			page, err := reader.History(b.Context(), Subject{events.Patient, 1}, Viewer{User: 1}, n+990, 10)
			return len(page.Entries), err
		}},
		{"as of then: a patient", 1, func() (int, error) {
			_, err := reader.Patient(b.Context(), 20_000, Viewer{User: 202}, then)
			return 1, err
		}},
		{"as of then: patients of a user", 90, func() (int, error) {
			list, err := reader.Patients(b.Context(), 202, then)
			return len(list), err
		}},
		{"as of then: mappings of a user", 90, func() (int, error) {
			list, err := reader.Mappings(b.Context(), 202, then)
			return len(list), err
		}},
		{"as of then: 5000 doctors", 4999, func() (int, error) {
			list, err := reader.Doctors(b.Context(), then)
			return len(list), err
		}},
		{"as of then: 5000 patients of a user", 5000, func() (int, error) {
			list, err := reader.Patients(b.Context(), 1, then)
			return len(list), err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if rows, err := c.read(); err != nil || rows < c.rows {
					b.Fatal(rows, err)
				}
			}
		})
	}
}
