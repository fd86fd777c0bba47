package main

import (
	_ "embed"
	"strings"
	"text/template"

	"github.com/carelog/carelog/events/bus"
)

//go:embed nats_accounts.conf.tmpl
var natsAccountsText string

var natsAccountsTemplate = template.Must(template.New("accounts").Parse(natsAccountsText))

// natsAccounts is the part of a NATS server's configuration that tells who may do
// what: the same for the server inside the process and for others. The
// password is Carelog's own, as the configuration is to have it.
func natsAccounts(password string, subscribers []subscriber) (string, error) {
	var text strings.Builder
	err := natsAccountsTemplate.Execute(&text, struct {
		Password, Stream, Guard, Unnamed string
		Subscribers                      []subscriber
	}{password, bus.StreamName, bus.GuardSubject, bus.GuardUnnamed, subscribers})
	return text.String(), err
}
