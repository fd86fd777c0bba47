package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// natsLogger passes the server's warnings and errors on and keeps the last
// error for a message. What is more talkative is dropped.
type natsLogger struct {
	logger *slog.Logger
	mu     sync.Mutex
	err    string
	told   time.Time // when it told last what a client did wrong
}

func (l *natsLogger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == "" {
		return "no reason given"
	}
	return l.err
}

func (l *natsLogger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	l.err = text
	ofClient := strings.Contains(text, " - cid:") // it begins with the client's address and number
	quiet := ofClient && time.Since(l.told) < time.Second
	if ofClient && !quiet {
		l.told = time.Now()
	}
	l.mu.Unlock()
	switch {
	case quiet: // a client can cause as many as it likes
	case ofClient:
		l.logger.Warn("NATS server", "message", text)
	default:
		l.logger.Error("NATS server", "message", text)
	}
}

func (l *natsLogger) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
func (l *natsLogger) Warnf(format string, v ...any) {
	l.logger.Warn("NATS server", "message", fmt.Sprintf(format, v...))
}
func (l *natsLogger) Noticef(string, ...any) {}
func (l *natsLogger) Debugf(string, ...any)  {}
func (l *natsLogger) Tracef(string, ...any)  {}
