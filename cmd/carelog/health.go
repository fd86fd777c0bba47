package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealthCommand() *cobra.Command {
	var live bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the server on this machine whether it can serve",
		Long: `Ask the server on this machine, at the address of CARELOG_ADDR, whether it can serve,
and print what /readyz says. With --live it is only asked whether it runs (/livez).
It is for what looks after a process, as a container, and has no other program to ask with.

Exit status: 0 it can, 1 it cannot, or does not answer, 2 a mistake in the command
line or in the configuration.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := operatorConfig(cmd)
			if err != nil {
				return err
			}
			address, err := localAddress(config.Addr)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			path := "/readyz"
			if live {
				path = "/livez"
			}
			status, body, err := askHealth(ctx, address, path)
			if err != nil {
				return fmt.Errorf("the server at %s does not answer: %w", address, err)
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), body); err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("the server at %s answers %d to %s", address, status, path)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process runs")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "`duration` to wait for the answer")
	completeFlag(cmd, "timeout")
	for _, s := range settings {
		if s.flag == "addr" {
			addSetting(cmd.Flags(), s)
		}
	}
	return cmd
}

// localAddress is where a server on all addresses can be reached from its own machine.
func localAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", &configError{[]string{"CARELOG_ADDR: with port 0 it is not known where the server is: set it to the address that its log names"}}
	}
	switch ip := net.ParseIP(host); {
	case host == "":
		host = "localhost"
	case ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth asks without TLS, and a server that wants it once more, with TLS.
func askHealth(ctx context.Context, address, path string) (status int, body string, err error) {
	status, body, err = get(ctx, "http://"+address+path)
	if status == http.StatusBadRequest { // what a TLS server says to those without
		return get(ctx, "https://"+address+path)
	}
	return status, body, err
}

// get does not check a certificate: it is for the name by which others know this
// server, and nothing secret is sent to whoever listens here.
func get(ctx context.Context, url string) (status int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, strings.TrimSpace(string(text)), err
}
