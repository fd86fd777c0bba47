package main

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// practice is the state that the API of one history shows: the patients of its
// user, the doctors of its kind, and the mappings between them, each in order of
// id. It is one object, because the rules cross records: e-mail addresses are
// unique among doctors, a mapping needs both, and ends with either.
type practice struct {
	patients []patientRow
	doctors  []doctorRow
	mappings []link
}

type link struct{ id, patient, doctor int64 }

// practiceModel is what the API promises, one call at a time.
var practiceModel = porcupine.Model{
	Init: func() any { return practice{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(practice).step(input.(call), output.(answer))
	},
	Equal: func(a, b any) bool {
		one, other := a.(practice), b.(practice)
		return slices.Equal(one.patients, other.patients) && slices.Equal(one.doctors, other.doctors) && slices.Equal(one.mappings, other.mappings)
	},
	Hash: func(state any) uint64 {
		s := state.(practice)
		var sum uint64
		for _, p := range s.patients {
			sum ^= maphash.Comparable(practiceSeed, p)
		}
		for _, d := range s.doctors {
			sum ^= maphash.Comparable(practiceSeed, d)
		}
		for _, m := range s.mappings {
			sum ^= maphash.Comparable(practiceSeed, m)
		}
		return sum
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

var practiceSeed = maphash.MakeSeed()

// step tells whether the call could have been answered so in this state, and
// what the state is then. A call whose answer nobody got, and that the log says
// has happened, must have been possible.
func (s practice) step(c call, a answer) (bool, practice) {
	p := slices.IndexFunc(s.patients, func(r patientRow) bool { return r.ID == c.patient })
	d := slices.IndexFunc(s.doctors, func(r doctorRow) bool { return r.ID == c.doctor })
	unknown := a.status == 0
	switch c.kind {
	case registerPatient:
		return s.addPatient(c, a)
	case amendPatient, replacePatient:
		if p < 0 || a.status == 404 {
			return p < 0 && a.status == 404, s
		}
		row := s.patients[p]
		row.Last = c.last
		if c.kind == replacePatient {
			row.First = c.first
		}
		return unknown || a.status == 200 && a.patients[0] == row, practice{with(s.patients, p, row), s.doctors, s.mappings}
	case removePatient:
		if p < 0 || a.status == 404 {
			return p < 0 && a.status == 404, s
		}
		return unknown || a.status == 204, practice{slices.Delete(slices.Clone(s.patients), p, p+1), s.doctors, s.without(func(m link) bool { return m.patient == c.patient })}
	case getPatient:
		return p < 0 && a.status == 404 || p >= 0 && a.status == 200 && a.patients[0] == s.patients[p], s
	case listPatients:
		return a.status == 200 && slices.Equal(a.patients, s.patients), s
	case registerDoctor:
		return s.addDoctor(c, a)
	case amendDoctor:
		if d < 0 || a.status == 404 {
			return d < 0 && a.status == 404, s
		}
		row := s.doctors[d]
		if c.email == "" {
			row.Last = c.last
		} else if taken := s.takenBy(c.email); taken >= 0 && taken != d || a.status == 400 {
			return taken >= 0 && taken != d && a.status == 400 && a.text == emailOfDoctorTaken, s
		} else {
			row.Email = c.email
		}
		return unknown || a.status == 200 && a.doctors[0] == row, practice{s.patients, with(s.doctors, d, row), s.mappings}
	case removeDoctor:
		if d < 0 || a.status == 404 {
			return d < 0 && a.status == 404, s
		}
		return unknown || a.status == 204, practice{s.patients, slices.Delete(slices.Clone(s.doctors), d, d+1), s.without(func(m link) bool { return m.doctor == c.doctor })}
	case getDoctor:
		return d < 0 && a.status == 404 || d >= 0 && a.status == 200 && a.doctors[0] == s.doctors[d], s
	case listDoctors:
		return a.status == 200 && slices.Equal(a.doctors, s.doctors), s
	case mapDoctor:
		return s.addMapping(c, a, p, d)
	case unmapDoctor:
		mine := func(m link) bool { return m.id == c.mapping }
		if !slices.ContainsFunc(s.mappings, mine) || a.status == 404 {
			return a.status == 404 && !slices.ContainsFunc(s.mappings, mine), s
		}
		return unknown || a.status == 204, practice{s.patients, s.doctors, s.without(mine)}
	case listMappings:
		return a.status == 200 && slices.Equal(a.mappings, s.rows(s.mappings)), s
	case mappingsOf:
		its := slices.DeleteFunc(slices.Clone(s.mappings), func(m link) bool { return m.patient != c.patient })
		return a.status == 200 && slices.Equal(a.mappings, s.rows(its)), s
	}
	return false, s
}

func (s practice) addPatient(c call, a answer) (bool, practice) {
	if len(a.patients) != 1 || slices.ContainsFunc(s.patients, func(r patientRow) bool { return r.ID == a.patients[0].ID }) {
		return false, s
	}
	row := patientRow{a.patients[0].ID, c.first, c.last}
	return a.patients[0] == row, practice{sorted(append(slices.Clone(s.patients), row), func(r patientRow) int64 { return r.ID }), s.doctors, s.mappings}
}

func (s practice) addDoctor(c call, a answer) (bool, practice) {
	if s.takenBy(c.email) >= 0 {
		return a.status == 400 && a.text == emailOfDoctorTaken, s
	}
	if len(a.doctors) != 1 || slices.ContainsFunc(s.doctors, func(r doctorRow) bool { return r.ID == a.doctors[0].ID }) {
		return false, s
	}
	row := doctorRow{a.doctors[0].ID, c.first, c.last, c.email}
	return a.doctors[0] == row, practice{s.patients, sorted(append(slices.Clone(s.doctors), row), func(r doctorRow) int64 { return r.ID }), s.mappings}
}

func (s practice) addMapping(c call, a answer, p, d int) (bool, practice) {
	if p < 0 || d < 0 {
		return a.status == 400 && strings.Contains(a.text, `"patient":["Invalid pk`) == (p < 0) && strings.Contains(a.text, `"doctor":["Invalid pk`) == (d < 0), s
	}
	if slices.ContainsFunc(s.mappings, func(m link) bool { return m.patient == c.patient && m.doctor == c.doctor }) {
		return a.status == 400 && a.text == pairTaken, s
	}
	if len(a.mappings) != 1 || slices.ContainsFunc(s.mappings, func(m link) bool { return m.id == a.mappings[0].ID }) {
		return false, s
	}
	m := link{a.mappings[0].ID, c.patient, c.doctor}
	return a.status == 0 || a.mappings[0] == s.rows([]link{m})[0], practice{s.patients, s.doctors, sorted(append(slices.Clone(s.mappings), m), func(m link) int64 { return m.id })}
}

// rows are mappings as the API shows them, with the present names.
func (s practice) rows(links []link) []mappingRow {
	var rows []mappingRow
	for _, m := range links {
		row := mappingRow{ID: m.id, Patient: m.patient, Doctor: m.doctor}
		for _, p := range s.patients {
			if p.ID == m.patient {
				row.PatientName = p.First + " " + p.Last
			}
		}
		for _, d := range s.doctors {
			if d.ID == m.doctor {
				row.DoctorName = d.First + " " + d.Last
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// takenBy is the place of the doctor who has the e-mail address, else -1.
func (s practice) takenBy(email string) int {
	return slices.IndexFunc(s.doctors, func(r doctorRow) bool { return r.Email == email })
}

func (s practice) without(ends func(link) bool) []link {
	return slices.DeleteFunc(slices.Clone(s.mappings), ends)
}

func with[R any](rows []R, at int, row R) []R {
	rows = slices.Clone(rows)
	rows[at] = row
	return rows
}

func sorted[R any](rows []R, id func(R) int64) []R {
	slices.SortFunc(rows, func(a, b R) int { return int(id(a) - id(b)) })
	return rows
}

// accountModel is what the API promises about one e-mail address: the state is
// the password of its account, empty while there is none.
var accountModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byEmail := map[string][]porcupine.Operation{}
		for _, o := range history {
			email := o.Input.(call).email
			byEmail[email] = append(byEmail[email], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byEmail {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		password, c, a := state.(string), input.(call), output.(answer)
		switch {
		case c.kind == logIn:
			return a.status == 200 && password == c.password || a.status == 401 && password != c.password, password
		case password != "":
			return a.status == 400 && a.text == emailOfUserTaken, password
		default:
			return a.status == 201 || a.status == 0, c.password
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}
