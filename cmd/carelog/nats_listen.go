package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// checkNATS tells what is wrong with the settings of the NATS server inside the
// process, seen together.
func (c *Config) checkNATS() (problems []string) {
	report := func(name, problem string) { problems = append(problems, name+": "+problem) }
	if c.StreamReplicas > 1 && c.NATSURL == "" {
		report("CARELOG_STREAM_REPLICAS", "more than 1, and the NATS server inside the process is one: set NATS_URL to a cluster's servers")
	}
	if c.NATSListen == "" {
		return problems
	}
	if c.NATSURL != "" {
		report("CARELOG_NATS_LISTEN", "there is no NATS server inside the process with NATS_URL: unset one of them")
	}
	if c.NATSSubscribers == "" {
		report("CARELOG_NATS_SUBSCRIBERS", "not set, and CARELOG_NATS_LISTEN lets nobody in without: set it to a file that `carelog subscribers add` makes")
	}
	if c.NATSCert == "" && !c.NATSPlaintext && !isLoopback(c.NATSListen) {
		report("CARELOG_NATS_LISTEN", "others can reach that address, and passwords and health records would cross the network in the clear: "+
			"set CARELOG_NATS_TLS_CERT and CARELOG_NATS_TLS_KEY, or listen on 127.0.0.1, or set CARELOG_NATS_PLAINTEXT to true if the network encrypts")
	}
	return problems
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // checkAddr has reported it
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// natsOptions reads the files that the settings name.
func (c *Config) natsOptions(to prometheus.Registerer, logger *slog.Logger) (natsOptions, error) {
	options := natsOptions{
		Dir:      filepath.Join(c.DataDir, "nats"),
		MaxBytes: c.StreamMaxBytes,
		Logger:   logger,
		Listen:   c.NATSListen,

		SubscribersFile: c.NATSSubscribers,
	}
	if c.NATSListen == "" {
		return options, nil
	}
	var err error
	if options.Subscribers, err = readSubscribers(c.NATSSubscribers); err != nil {
		return options, fmt.Errorf("CARELOG_NATS_SUBSCRIBERS: %w", err)
	}
	_, pair := c.keyPairs()
	options.TLS, err = pair.tlsConfig(to, logger)
	return options, err
}

// maxPending is how many bytes wait for a client that reads slowly, before it is
// disconnected: what a subscriber asks for and does not read is held in memory, up to this
// for each of its 16 connections. It is more than what the clients ask for at once (100
// to 1000 events), so who reads is not disconnected.
const maxPending = 8 << 20

// listen has the server take connections at an address, as these options have it then.
func (n *natsServer) listen(options *natsserver.Options) error {
	// The server would take half a minute to tell that it cannot have an address.
	probe, err := net.Listen("tcp", n.options.Listen)
	if err != nil {
		return fmt.Errorf("%w: set CARELOG_NATS_LISTEN to another address", err)
	}
	if err := probe.Close(); err != nil {
		return err
	}
	n.options.Listen = probe.Addr().String() // the same when it starts again
	host, port, err := net.SplitHostPort(n.options.Listen)
	if err != nil {
		return err
	}
	options.DontListen = false
	options.Host = host
	if options.Port, err = strconv.Atoi(port); err != nil {
		return err
	}
	options.MaxConn = 1024
	options.MaxPending = maxPending
	if n.options.TLS != nil {
		options.TLSConfig = n.options.TLS
		options.TLSTimeout = 2
	}
	return nil
}
