package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
)

// recordKinds are the kinds of records there are.
var recordKinds = []string{string(events.Patient), string(events.Doctor), string(events.Mapping), string(events.User)}

// typeNames are what --type takes: kinds, then types.
func typeNames(registry *events.Registry) []string {
	names := slices.Clone(recordKinds)
	for _, t := range registry.Types() {
		if kind := string(t.Entity()); !slices.Contains(names, kind) {
			names = append(names, kind)
		}
	}
	for _, t := range registry.Types() {
		names = append(names, string(t))
	}
	return names
}

// eventFilter is what the flags select.
type eventFilter struct {
	tags, types []string
	actor       string
	until       moment
}

// filterHelp explains its flags.
const filterHelp = `An event is taken when all flags select it, and of --type any. A type is exact, as
patient.amended, or a kind of record, as patient. A tag is one that the event has:
patient:1 is on every event about patient 1, its mappings included; others are
doctor:1, mapping:1, user:1, and owner:1 for the records of user 1. --actor is a
user's id, the tool of an operator ("carelog users"), or an operator's name.`

func (f *eventFilter) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.tags, "tag", nil, "only events with this `tag`; repeated: with all of them")
	flags.StringArrayVar(&f.types, "type", nil, "only events of this `type`, or about this kind of record; repeated: of any")
	flags.StringVar(&f.actor, "actor", "", "only what this `actor` has done: a user's id, an operator's name or a tool")
	flags.Var(&f.until, "until", "only events up to this `moment`")
	completeFlag(cmd, "tag", "patient:", "doctor:", "mapping:", "user:", "owner:")
	completeFlag(cmd, "type", typeNames(events.NewRegistry())...)
	completeFlag(cmd, "actor")
	completeFlag(cmd, "until")
}

// selection is without the moments, for which the log must be asked.
func (f eventFilter) selection(registry *events.Registry) (events.Selection, error) {
	var selected events.Selection
	var item events.QueryItem
	for _, text := range f.tags {
		tag, err := parseTag(text)
		if err != nil {
			return selected, err
		}
		item.Tags = append(item.Tags, tag)
	}
	item.Tags = events.NarrowFirst(item.Tags)
	for _, name := range f.types {
		found := slices.DeleteFunc(registry.Types(), func(t events.Type) bool { return string(t) != name && string(t.Entity()) != name })
		if len(found) == 0 {
			return selected, fmt.Errorf("--type: there is no type of events %q; there are %s", name, strings.Join(typeNames(registry), ", "))
		}
		item.Types = append(item.Types, found...)
	}
	switch {
	case len(item.Tags) == 0 && len(f.types) == 1 && slices.Contains(recordKinds, f.types[0]):
		selected.Kind = events.Kind(f.types[0])
	case len(item.Tags)+len(item.Types) > 0:
		selected.Query = events.Query{item}
	}
	var err error
	selected.Actor, err = parseActor(f.actor)
	return selected, err
}

// parseTag refuses what no tag is like.
func parseTag(text string) (events.Tag, error) {
	name, value, _ := strings.Cut(text, ":")
	if name == "" || value == "" || len(text) > 255 || printable(text) != text {
		return "", fmt.Errorf("--tag: %q is no tag: write name:value, as patient:42", text)
	}
	return events.Tag(text), nil
}

// parseActor takes a number for a user's id. Every tool is a command of carelog.
func parseActor(text string) (events.Actor, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	switch {
	case text == "":
		return events.Actor{}, nil
	case err == nil && id > 0:
		return events.Actor{UserID: id}, nil
	case err == nil:
		return events.Actor{}, errors.New("--actor: the ids of users begin with 1")
	case strings.HasPrefix(text, "carelog "):
		return events.Actor{Tool: text}, nil
	}
	return events.Actor{Operator: text}, nil
}
