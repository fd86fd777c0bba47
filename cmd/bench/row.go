package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// stock is what the rows ask for. It is made before the first run.
type stock struct {
	Token     string // of the user who owns Patients
	ListToken string // of a user who has listLength patients
	Patients  []int64
	Doctors   []int64

	History history  // that the log was filled with
	Owners  []string // tokens of its users who have patients, in order of id
}

// How many patients there are for GET, PATCH and mappings, and in the list.
const (
	stockPatients = 1000
	listLength    = 100
)

// row is a line of the table: one kind of request. The requests have serial
// numbers that go on from run to run, so that each can be made unlike all
// before it.
type row struct {
	name, title string
	method      string
	list        bool                                // asked by the user of the list
	token       func(s *stock, serial int64) string // of who asks; nil: see list
	path        func(dst []byte, s *stock, serial int64) []byte
	body        func(dst []byte, s *stock, serial int64) []byte // nil: none
	limit       func(s *stock) int64                            // of serial numbers; nil: none
}

const patientsPath = "/api/patients/"

var rows = []row{
	{
		name: "post", title: "POST patient", method: "POST",
		path: fixed(patientsPath),
		body: func(dst []byte, _ *stock, serial int64) []byte {
			dst = append(dst, `{"first_name":"Alice","last_name":"Smith `...)
			dst = strconv.AppendInt(dst, serial, 10)
			return append(dst, `","age":30,"gender":"Female"}`...)
		},
	},
	{
		name: "get", title: "GET patient", method: "GET",
		path: onePatient,
	},
	{
		name: "list", title: "List of 100 patients", method: "GET", list: true,
		path: fixed(patientsPath),
	},
	{
		name: "patch", title: "PATCH patient", method: "PATCH",
		path: onePatient,
		body: func(dst []byte, s *stock, serial int64) []byte { // another age than the last time
			dst = append(dst, `{"age":`...)
			dst = strconv.AppendInt(dst, 1+serial/int64(len(s.Patients))%100, 10)
			return append(dst, '}')
		},
	},
	{
		name: "map", title: "POST mapping", method: "POST",
		path: fixed("/api/patients/mappings/"),
		body: func(dst []byte, s *stock, serial int64) []byte { // each pair once
			patients := int64(len(s.Patients))
			dst = append(dst, `{"patient":`...)
			dst = strconv.AppendInt(dst, s.Patients[serial%patients], 10)
			dst = append(dst, `,"doctor":`...)
			dst = strconv.AppendInt(dst, s.Doctors[serial/patients], 10)
			return append(dst, '}')
		},
		limit: func(s *stock) int64 { return int64(len(s.Patients) * len(s.Doctors)) },
	},
}

func fixed(path string) func([]byte, *stock, int64) []byte {
	return func(dst []byte, _ *stock, _ int64) []byte { return append(dst, path...) }
}

func onePatient(dst []byte, s *stock, serial int64) []byte {
	dst = append(dst, patientsPath...)
	dst = strconv.AppendInt(dst, s.Patients[serial%int64(len(s.Patients))], 10)
	return append(dst, '/')
}

// append writes the request with this serial number.
func (r row) append(dst []byte, j *job, serial int64) ([]byte, error) {
	if r.limit != nil && serial >= r.limit(&j.Stock) {
		return dst, fmt.Errorf("more than %d requests in all: the stock is too small for so long a measurement", serial)
	}
	token := j.Stock.Token
	switch {
	case r.token != nil:
		token = r.token(&j.Stock, serial)
	case r.list:
		token = j.Stock.ListToken
	}
	dst = append(append(dst, r.method...), ' ')
	dst = r.path(dst, &j.Stock, serial)
	dst = append(append(dst, " HTTP/1.1\r\nHost: "...), j.Addr...)
	dst = append(append(dst, "\r\nAuthorization: Bearer "...), token...)
	if r.body != nil {
		var buffer [256]byte
		body := r.body(buffer[:0], &j.Stock, serial)
		dst = append(dst, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n\r\n"...)
		return append(dst, body...), nil
	}
	return append(dst, "\r\n\r\n"...), nil
}

func rowNamed(name string) (row, error) {
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	if i < 0 {
		return row{}, fmt.Errorf("there is no row %q: the rows are %s", name, strings.Join(rowNames(), ", "))
	}
	return rows[i], nil
}

// rowsNamed answers the rows of a list of names with commas between.
func rowsNamed(list string) (named []row, err error) {
	for name := range strings.SplitSeq(list, ",") {
		r, err := rowNamed(name)
		if err != nil {
			return nil, err
		}
		named = append(named, r)
	}
	return named, nil
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}
