package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/history"
)

// newRecordCommand makes a command of one that names a record.
func newRecordCommand(cmd *cobra.Command, work func(context.Context, *operator, history.Subject, *bufio.Writer) error) *cobra.Command {
	cmd.Use += " <" + strings.Join(recordKinds, " | ") + "> <id>"
	cmd.Args = checked(func(_ *cobra.Command, args []string) error {
		_, err := parseSubject(args)
		return err
	})
	cmd.ValidArgsFunction = completeKind
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		of, err := parseSubject(args)
		if err != nil {
			return err
		}
		return operate(cmd, func(ctx context.Context, o *operator) error {
			out := bufio.NewWriter(cmd.OutOrStdout())
			err := work(ctx, o, of, out)
			if _, missing := errors.AsType[*notFoundError](err); missing {
				return err // without the head of an empty table
			}
			return errors.Join(err, out.Flush())
		})
	}
	cmd.Flags().SortFlags = false
	addOperatorSettings(cmd.Flags())
	return cmd
}

// parseSubject takes a kind and an id, or both in one as they are in tables.
func parseSubject(args []string) (history.Subject, error) {
	if len(args) == 1 {
		args = strings.SplitN(args[0], "/", 2)
	}
	if len(args) != 2 {
		return history.Subject{}, errors.New("name one record, as patient 42")
	}
	if !slices.Contains(recordKinds, args[0]) {
		return history.Subject{}, fmt.Errorf("there is no kind of record %q; there are %s", args[0], strings.Join(recordKinds, ", "))
	}
	id, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || id < 1 {
		return history.Subject{}, fmt.Errorf("%q is no id: ids are 1, 2, 3 …", args[1])
	}
	return history.Subject{Kind: events.Kind(args[0]), ID: id}, nil
}

// recordAt answers all fields of a record as they were at a position, named and in
// order as in the API; nil when it was not there.
func (o *operator) recordAt(ctx context.Context, of history.Subject, at events.Position) ([]history.Field, error) {
	everything := history.Viewer{All: true}
	fields := []history.Field{{Name: "id", Value: of.ID}}
	var err error
	switch of.Kind {
	case events.Patient:
		var p projections.Patient
		p, err = o.history().Patient(ctx, of.ID, everything, at)
		fields = append(append(fields, history.PatientFields(p)...), history.Field{Name: "created_at", Value: p.CreatedAt}, history.Field{Name: "added_by", Value: p.AddedBy})
	case events.Doctor:
		var d projections.Doctor
		d, err = o.history().Doctor(ctx, of.ID, at)
		fields = append(append(fields, history.DoctorFields(d)...), history.Field{Name: "created_at", Value: d.CreatedAt})
	case events.Mapping:
		var m projections.Mapping
		m, err = o.history().Mapping(ctx, of.ID, everything, at)
		fields = append(fields, []history.Field{{Name: "patient", Value: m.Patient}, {Name: "doctor", Value: m.Doctor},
			{Name: "patient_name", Value: m.PatientName}, {Name: "doctor_name", Value: m.DoctorName}, {Name: "assigned_at", Value: m.AssignedAt}}...)
	default:
		var u history.User
		u, err = o.history().User(ctx, of.ID, at)
		fields = append(append(fields, history.UserFields(u)...), history.Field{Name: "registered_at", Value: u.RegisteredAt})
	}
	if errors.Is(err, projections.ErrNotFound) {
		return nil, nil
	}
	return fields, err
}

// life is the part of the log in which a record is there. A zero position stands
// for what has not happened.
type life struct {
	of           history.Subject
	began, ended events.Recorded
}

// lifeOf fails with a *notFoundError for a record that never was.
func (o *operator) lifeOf(ctx context.Context, of history.Subject) (life, error) {
	l := life{of: of}
	begins := []events.Type{events.PatientRegisteredType, events.DoctorRegisteredType, events.MappingCreatedType, events.UserRegisteredType}
	ends := []events.Type{events.PatientRemovedType, events.DoctorRemovedType, events.MappingRemovedType}
	types := slices.DeleteFunc(slices.Concat(begins, ends), func(t events.Type) bool { return t.Entity() != of.Kind })
	query := events.Query{{Types: types, Tags: []events.Tag{of.Tag()}}}
	for e, err := range o.store.Stream(ctx, events.Selection{Query: query}) {
		if err != nil {
			return l, err
		}
		if slices.Contains(begins, e.Type) {
			l.began = e
		} else {
			l.ended = e
		}
	}
	if l.began.Position == 0 {
		return l, neverThere(of)
	}
	return l, nil
}

// absence tells why the record is not there at a position.
func (l life) absence(at events.Position) string {
	when := fmt.Sprintf("at position %d", at)
	if at == 0 {
		when = "before the first event"
	}
	if at < l.began.Position {
		return fmt.Sprintf("%s was not there yet %s: %s is at position %d, %s", l.of, when, l.began.Type, l.began.Position, timeText(l.began.RecordedAt))
	}
	return fmt.Sprintf("%s was not there any more %s: %s is at position %d, %s", l.of, when, l.ended.Type, l.ended.Position, timeText(l.ended.RecordedAt))
}

// recordFields are the fields of a record as a JSON object, in their order.
type recordFields []history.Field

// MarshalJSON implements [json.Marshaler].
func (f recordFields) MarshalJSON() ([]byte, error) {
	return object(f, func(one history.Field) (string, any) { return one.Name, one.Value })
}

// changedFields are changes as a JSON object, in their order.
type changedFields []history.Change

// MarshalJSON implements [json.Marshaler].
func (f changedFields) MarshalJSON() ([]byte, error) {
	return object(f, func(one history.Change) (string, any) {
		return one.Field, struct {
			Old any `json:"old"`
			New any `json:"new"`
		}{jsonValue(one.Old), jsonValue(one.New)}
	})
}

func object[T any](members []T, member func(T) (name string, value any)) ([]byte, error) {
	var text bytes.Buffer
	for i, m := range members {
		name, value := member(m)
		encoded, err := json.Marshal(jsonValue(value))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, "%q:%s", name, encoded) // names of fields are ASCII
	}
	return fmt.Appendf(nil, "{%s}", &text), nil
}

// jsonValue is a value of a field as JSON has it.
func jsonValue(value any) any {
	if at, ok := value.(time.Time); ok {
		return timeText(at)
	}
	return value
}
