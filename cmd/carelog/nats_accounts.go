package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/carelog/carelog/events/bus"
)

//go:embed nats_accounts.conf.tmpl
var natsAccountsText string

var natsAccountsTemplate = template.Must(template.New("accounts").Parse(natsAccountsText))

// natsAccounts is the part of a NATS server's configuration that tells who may do
// what: the same for the server inside the process and for others. The
// password is Carelog's own, as the configuration is to have it. Durable consumers that
// are there, perhaps of former subscribers, are nobody else's.
func natsAccounts(password string, subscribers []subscriber, consumers []string) (string, error) {
	names := slices.Clone(consumers)
	for _, s := range subscribers {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	var text strings.Builder
	err := natsAccountsTemplate.Execute(&text, struct {
		Password, Stream, Guard, Unnamed string
		Subscribers                      []subscriber
		Names                            []string
	}{password, bus.StreamName, bus.GuardSubject, bus.GuardUnnamed, subscribers, slices.Compact(names)})
	return text.String(), err
}

// durableConsumers are those that the store of the NATS server holds, by their files,
// since they must be known before it starts.
func durableConsumers(dir string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "CARELOG", "streams", bus.StreamName, "obs", "*", "meta.inf"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		name := filepath.Base(filepath.Dir(path))
		var meta struct {
			Durable string `json:"durable_name"`
		}
		// What cannot be read is taken for durable.
		if broken := json.Unmarshal(text, &meta) != nil; (broken || meta.Durable != "") && checkSubscriberName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}
