package main

import (
	"fmt"
	"slices"
	"strconv"
)

// growthRows are the kinds of requests that are compared as the log grows,
// besides those of [rows]. They ask for what the log was filled with, one after
// the other but far from one another, so that all of a large table is asked for
// as evenly as all of a small one.
var growthRows = []row{
	{
		name: "get-any", title: "GET patient, any of all", method: "GET",
		path: anyPatient, token: itsOwner,
	},
	{
		name: "list-any", title: "List of 100 patients, of any user", method: "GET",
		path: fixed(patientsPath),
		token: func(s *stock, serial int64) string {
			return s.Owners[scattered(serial, int64(len(s.Owners)))]
		},
	},
	{
		name: "patch-any", title: "PATCH patient, any of all", method: "PATCH",
		path: anyPatient, token: itsOwner,
		body: func(dst []byte, s *stock, serial int64) []byte { return newAge(dst, serial/others(s)) },
	},
	{
		name: "patch-old", title: "PATCH of a patient with many amendments", method: "PATCH",
		path:  fixed(patientsPath + "1/"),
		token: func(s *stock, _ int64) string { return s.Owners[s.History.owner(1)-1] },
		body:  func(dst []byte, _ *stock, serial int64) []byte { return newAge(dst, serial) },
	},
	{
		name: "map-any", title: "POST mapping, of any patient", method: "POST",
		path: fixed("/api/patients/mappings/"), token: itsOwner,
		body: func(dst []byte, s *stock, serial int64) []byte { // each pair once
			patient := anyOf(s, serial)
			dst = append(dst, `{"patient":`...)
			dst = strconv.AppendInt(dst, patient, 10)
			dst = append(dst, `,"doctor":`...)
			dst = strconv.AppendInt(dst, s.Doctors[(serial/others(s)+patient)%int64(len(s.Doctors))], 10)
			return append(dst, '}')
		},
		limit: func(s *stock) int64 { return others(s) * int64(len(s.Doctors)) },
	},
}

// others is how many patients there are besides the one with many amendments.
func others(s *stock) int64 { return s.History.Patients - 1 }

// anyOf is one of them.
func anyOf(s *stock, serial int64) int64 { return 2 + scattered(serial, others(s)) }

func itsOwner(s *stock, serial int64) string {
	return s.Owners[s.History.owner(anyOf(s, serial))-1]
}

func anyPatient(dst []byte, s *stock, serial int64) []byte {
	dst = append(dst, patientsPath...)
	dst = strconv.AppendInt(dst, anyOf(s, serial), 10)
	return append(dst, '/')
}

// newAge is an amendment. Nobody in the log was as old as that, and no two
// successive numbers make the same.
func newAge(dst []byte, n int64) []byte {
	dst = append(dst, `{"age":`...)
	dst = strconv.AppendInt(dst, 101+n%50, 10)
	return append(dst, '}')
}

// scattered is a number below n that is another for each of n serial numbers.
func scattered(serial, n int64) int64 {
	const prime = 2_654_435_761
	return serial % n * prime % n
}

// anyRowNamed finds also a row of another measurement than the usual one.
func anyRowNamed(name string) (row, error) {
	if i := slices.IndexFunc(growthRows, func(r row) bool { return r.name == name }); i >= 0 {
		return growthRows[i], nil
	}
	return rowNamed(name)
}

// contest is a line of the table of growth: requests to the small log and to the
// grown one, or two kinds of requests to the grown one.
type contest struct {
	title string
	sides [2]side
	alone bool // with one connection: they would contend for one patient
}

type side struct{ server, row string }

// What the logs are called.
const (
	smallName = "small"
	grownName = "grown"
)

// contests of a log in which one patient has so many amendments.
func contests(amendments int64) []contest {
	var all []contest
	post, _ := rowNamed("post")
	for _, r := range slices.Insert(slices.Clone(growthRows), 0, post) {
		if r.name != "patch-old" {
			all = append(all, contest{title: r.title, sides: [2]side{{smallName, r.name}, {grownName, r.name}}})
		}
	}
	return append(all, contest{
		title: fmt.Sprintf("PATCH of a patient with %s amendments, against new patients", thousands(float64(amendments))),
		sides: [2]side{{grownName, "patch"}, {grownName, "patch-old"}}, alone: true,
	})
}
