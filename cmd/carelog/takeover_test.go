package main

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// processFaults are those of the processes of the program.
var processFaults = []fault{
	{"kill -9 of the process that runs the projections", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		return s.lose(t, s.holder(t), "take-over after kill -9", func(p *process) { p.kill(t) })
	}},
	{"SIGSTOP of the process that runs the projections", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		held := s.holder(t)
		stopped := s.servers[held].Load()
		if err := stopped.command.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stopped.command.Process.Signal(syscall.SIGCONT) }()
		s.awaitWrites(t, "take-over after SIGSTOP", time.Now(), 1-held)
		return time.Now()
	}},
	{"stop of the process that runs the projections", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		return s.lose(t, s.holder(t), "take-over after a stop in good order", func(p *process) { p.stop() })
	}},
	{"kill -9 of the process that stands by", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		return s.lose(t, 1-s.holder(t), "writes after the other was killed", func(p *process) { p.kill(t) })
	}},
}

// lose ends one process, waits until the other does its work, and starts it again.
func (s *site) lose(t *testing.T, which int, what string, end func(*process)) time.Time {
	t.Helper()
	lost, since := s.servers[which].Load(), time.Now()
	end(lost)
	lost.client.CloseIdleConnections()
	s.awaitWrites(t, what, since, 1-which)
	s.startServer(t, which)
	return time.Now()
}

// awaitWrites measures how long it takes until a process answers writes as it
// should.
func (s *site) awaitWrites(t *testing.T, what string, since time.Time, server int) {
	t.Helper()
	s.await(t, what, since, func() bool {
		_, ok := s.probe(server)
		return ok
	})
	t.Logf("%s: %v", what, s.measured[what][len(s.measured[what])-1].Round(time.Millisecond))
}

// TestTheOtherProcessTakesOver whatever becomes of the one that runs the
// projections. What clients of both were told meanwhile is linearizable, every
// answered write is there once, and the tables equal a fold of the log.
func TestTheOtherProcessTakesOver(t *testing.T) {
	t.Parallel()
	newSite(t, false).sufferAll(t, processFaults)
}
