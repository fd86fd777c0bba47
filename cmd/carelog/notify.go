package main

import (
	"log/slog"
	"net"
)

// What a service manager is told, as sd_notify(3) has it.
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
)

// newNotifier tells the service manager that listens at a socket, as systemd does for
// a unit of Type=notify; with no socket it tells nobody. A name that begins with @ is
// of Linux's abstract sockets, and package net takes it for one.
func newNotifier(socket string, logger *slog.Logger) func(state string) {
	if socket == "" {
		return func(string) {}
	}
	return func(state string) {
		conn, err := net.Dial("unixgram", socket)
		if err == nil {
			defer conn.Close()
			_, err = conn.Write([]byte(state))
		}
		if err != nil {
			logger.Warn("the service manager cannot be told", "state", state, "error", err)
		}
	}
}
