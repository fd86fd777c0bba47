package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// demoRecords makes up patients and doctors: the same for the same seed, each by its
// number alone.
type demoRecords struct{ seed uint64 }

// Names of people of several languages, each with the letters of its own.
var (
	demoWomen = strings.Fields(`Alice Amina Ana Aoife Beatriz Chiara Chloé Elena Elif Emma Fatima Freya Grace Hannah Hiroko Ingrid Isabella
		Jasmine Joanna Katarzyna Lakshmi Leila Linh Lucía Maja Mariam Mei Min-ji Naomi Ngozi Nora Olga Priya Rosa Sakura Sarah Siobhán Sofia
		Tatiana Yasmin Zoë Żaneta`)
	demoMen = strings.Fields(`Aarav Ahmed Alejandro Antonio Björn Carlos Chen Daniel David Dimitri Emeka Emre Erik François Giovanni Hans
		Hassan Henry Ibrahim Ivan Jack James Jan João José Kenji Kofi Lars Liam Luca Mateusz Mehmet Miguel Minh Mohammed Noah Oluwaseun Omar
		Pavel Rajesh Samuel Seán Søren Thomas Wei Yusuf`)
	demoNames = strings.Fields(`Adeyemi Ahmed Ali Andersson Bauer Becker Bianchi Brown Chen Costa Dubois Eriksson Fernández Ferrari Fischer
		García Gupta Hansen Hernández Hoffmann Horváth Ivanova Jensen Johnson Jones Kaya Khan Kim Kowalska Kumar Lee Lefèvre Lopes Martin Mensah
		Miller Moreau Müller Nakamura Nguyễn Nielsen Novák Nowak O'Brien Okafor Olsen Papadopoulos Patel Pereira Petrov Popescu Rossi
		Santos Sato Schneider Schulz Sharma Silva Singh Smith Sørensen Suzuki Svensson Tanaka Taylor Tran Türk Virtanen Wagner Walker Wang Williams
		Yılmaz Żukowski`)
	demoSpecializations = []string{"Cardiology", "Dermatology", "Emergency Medicine", "Endocrinology", "Family Medicine", "Gastroenterology",
		"General Surgery", "Geriatrics", "Gynaecology", "Haematology", "Internal Medicine", "Neurology", "Oncology", "Ophthalmology", "Orthopaedics",
		"Paediatrics", "Psychiatry", "Pulmonology", "Radiology", "Urology"}
)

// demoPatient is what a patient is registered with.
type demoPatient struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Age       int    `json:"age"` // years
	Gender    string `json:"gender"`
}

// demoDoctor is what a doctor is registered with.
type demoDoctor struct {
	FirstName      string `json:"first_name"`
	LastName       string `json:"last_name"`
	Specialization string `json:"specialization"`
	Email          string `json:"email"`
	Phone          string `json:"phone"`
}

// chance is that of one record: a kind of its own for each kind of record.
func (d demoRecords) chance(kind, number int) *rand.Rand {
	return rand.New(rand.NewPCG(d.seed, uint64(kind)<<32|uint64(number)))
}

func one(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

func (d demoRecords) patient(number int) demoPatient {
	r := d.chance(0, number)
	p := demoPatient{LastName: one(r, demoNames), Age: demoAge(r)}
	switch chance := r.IntN(100); {
	case chance < 51:
		p.Gender, p.FirstName = "Female", one(r, demoWomen)
	case chance < 98:
		p.Gender, p.FirstName = "Male", one(r, demoMen)
	default:
		p.Gender, p.FirstName = "Other", one(r, append(demoWomen[:len(demoWomen):len(demoWomen)], demoMen...))
	}
	return p
}

// demoAge is that of somebody who sees a doctor: small children and the old do more
// often than others.
func demoAge(r *rand.Rand) int {
	switch chance := r.IntN(100); {
	case chance < 12:
		return r.IntN(6)
	case chance < 45:
		return 6 + r.IntN(50)
	default:
		return min(104, max(18, int(math.Round(66+14*r.NormFloat64()))))
	}
}

func (d demoRecords) doctor(number int) demoDoctor {
	r := d.chance(1, number)
	first := one(r, demoWomen)
	if r.IntN(2) == 0 {
		first = one(r, demoMen)
	}
	return demoDoctor{
		FirstName: "Dr. " + first, LastName: one(r, demoNames),
		Specialization: demoSpecializations[number%len(demoSpecializations)],
		Email:          fmt.Sprintf("doctor%d.%d@hospital.example", number+1, d.seed), // RFC 2606: nobody's
		Phone:          fmt.Sprintf("+1555%07d", r.IntN(10_000_000)),
	}
}

// doctorsOf are the numbers of those who see a patient: one to three, of so many.
func (d demoRecords) doctorsOf(patient, doctors int) []int {
	r := d.chance(2, patient)
	return r.Perm(doctors)[:min(doctors, 1+r.IntN(3))]
}
