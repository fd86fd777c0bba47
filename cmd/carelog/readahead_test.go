package main

import (
	"errors"
	"testing"
)

// TestReadAhead: everything comes, in order, then the error; who stops early leaves
// nobody behind (goleak).
func TestReadAhead(t *testing.T) {
	broken := errors.New("broken")
	for _, n := range []int{0, 1, replayBatch, 10*replayBatch + 1} {
		for _, end := range []error{nil, broken} {
			for _, stop := range []int{-1, 0, replayBatch, 3 * replayBatch} {
				next := 0
				var err error
				for row, failed := range readAhead(func(yield func(int, error) bool) {
					for i := range n {
						if !yield(i, nil) {
							return
						}
					}
					if end != nil {
						yield(0, end)
					}
				}) {
					if failed != nil {
						err = failed
						break
					}
					if row != next {
						t.Fatalf("%d of %d: %d", next, n, row)
					}
					if next++; next == stop {
						break
					}
				}
				stopped := stop > 0 && stop <= n
				if !stopped && (next != n || !errors.Is(err, end)) || stopped && (next != stop || err != nil) {
					t.Errorf("%d rows, then %v, stopped at %d: %d came, then %v", n, end, stop, next, err)
				}
			}
		}
	}
}
