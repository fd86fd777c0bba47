package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/carelog/carelog/events"
)

// access is what a route asks of the one who calls it.
type access int

const (
	public        access = iota // anything: no Accept, no token
	tokenIgnored                // the Authorization header is not looked at
	tokenOptional               // a token that is sent must be good
	tokenRequired
	staffOnly   // a token of somebody who has a role
	staffOrSelf // the same, or of the user whom {id} names
)

// handler answers a request, or an error that [api.fail] answers.
type handler func(http.ResponseWriter, *http.Request) error

// methods are the handlers of a route. GET answers HEAD, too.
type methods map[string]handler

// route is a path and what can be done there.
type route struct {
	pattern string // chi's, with its final slash; the path without it answers as well
	name    string // in the answer to OPTIONS
	access  access
	methods methods
}

// routes is the table of all there is. An {id} is digits, which serve looks at,
// so "mappings" is never taken for a patient.
func (a *api) routes() []route {
	return append(a.scrapeRoute(), []route{
		{"/", "Carelog", public, methods{"GET": a.welcome}},
		{"/livez/", "Liveness", public, methods{"GET": a.livez}},
		{"/readyz/", "Readiness", public, methods{"GET": a.readyz}},

		{docsPath, "API Page", public, methods{"GET": a.getDocs}},
		{docsPath + "{file}/", "File of the API Page", public, methods{"GET": a.getDocsFile}},

		{"/api/openapi.json/", "OpenAPI", public, methods{"GET": a.getOpenAPI}},
		{"/api/openapi.yaml/", "OpenAPI as YAML", public, methods{"GET": a.getOpenAPIYAML}},
		{schemasPath, "Event Schemas", public, methods{"GET": a.listSchemas}},
		{schemasPath + "{file}/", "Event Schema", public, methods{"GET": a.getSchema}},
		{"/api/events/asyncapi.json/", "AsyncAPI", public, methods{"GET": a.getAsyncAPI}},

		{"/api/auth/register/", "Register", tokenOptional, methods{"POST": a.account(a.command(a.registerUser))}},
		{"/api/auth/login/", "Login", tokenIgnored, methods{"POST": a.account(a.login)}},
		{"/api/auth/refresh/", "Token Refresh", tokenIgnored, methods{"POST": a.account(a.refresh)}},

		{"/api/patients/", "Patients", tokenRequired, methods{
			"GET":  a.list(a.orAsOf(a.listPatients, a.listPatientsAsOf)),
			"POST": a.change(a.registerPatient),
		}},
		{"/api/patients/{id}/", "Patient", tokenRequired, methods{
			"GET":    a.query(a.orAsOf(a.getPatient, a.getPatientAsOf)),
			"PUT":    a.change(a.putPatient),
			"PATCH":  a.change(a.patchPatient),
			"DELETE": a.change(a.removePatient),
		}},
		{"/api/patients/{id}/history/", "Patient History", tokenRequired, methods{"GET": a.list(a.patientHistory)}},

		{"/api/doctors/", "Doctors", tokenRequired, methods{
			"GET":  a.list(a.orAsOf(a.listDoctors, a.listDoctorsAsOf)),
			"POST": a.change(a.registerDoctor),
		}},
		{"/api/doctors/{id}/", "Doctor", tokenRequired, methods{
			"GET":    a.query(a.orAsOf(a.getDoctor, a.getDoctorAsOf)),
			"PUT":    a.change(a.putDoctor),
			"PATCH":  a.change(a.patchDoctor),
			"DELETE": a.change(a.removeDoctor),
		}},
		{"/api/doctors/{id}/history/", "Doctor History", tokenRequired, methods{"GET": a.list(a.doctorHistory)}},

		{"/api/patients/mappings/", "Mappings", tokenRequired, methods{
			"GET":  a.list(a.orAsOf(a.listMappings, a.listMappingsAsOf)),
			"POST": a.change(a.mapDoctor),
		}},
		{"/api/patients/mappings/{id}/", "Mappings of a Patient", tokenRequired, methods{
			"GET": a.list(a.orAsOf(a.listPatientMappings, a.listPatientMappingsAsOf)), // id is the patient's
		}},
		{"/api/patients/mappings/delete/{id}/", "Mapping", tokenRequired, methods{
			"DELETE": a.change(a.unmapDoctor),
		}},
		{"/api/patients/mappings/history/{id}/", "Mapping History", tokenRequired, methods{"GET": a.list(a.mappingHistory)}},

		{"/api/users/", "Users", staffOnly, methods{"GET": a.list(a.listUsers)}},
		{"/api/users/{id}/", "User", staffOrSelf, methods{"GET": a.query(a.getUser), "PATCH": a.change(a.patchUser)}},
		{"/api/users/{id}/history/", "User History", staffOrSelf, methods{"GET": a.list(a.userHistory)}},

		{eventsPattern, "Events", tokenRequired, methods{"GET": a.eventList(a.listEvents)}},
		{"/api/events/ticket/", "Ticket for Events", tokenRequired, methods{"POST": a.account(a.issueTicket)}},
	}...)
}

// allow lists a route's methods for the Allow header, in the reference's order.
func (rt route) allow() string {
	var names []string
	for _, name := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		if rt.methods[name] != nil {
			names = append(names, name)
		}
	}
	if rt.methods["GET"] != nil {
		names = append(names, "HEAD")
	}
	return strings.Join(append(names, "OPTIONS"), ", ")
}

// vary lists what answers of a route depend on. That of registering depends on
// the cookie in the reference, and is recorded so.
func (rt route) vary(hasOrigins bool) string {
	names := "Accept"
	if rt.access == tokenOptional {
		names += ", Cookie"
	}
	if hasOrigins {
		names += ", Origin"
	}
	return names
}

// forms are the media types that a route can answer in besides JSON.
func (rt route) forms() []string {
	if rt.pattern == eventsPattern {
		return eventForms
	}
	return nil
}

// router finds the route of a request by its path alone, decoded like the
// reference does; methods are looked at after authentication, also those that
// chi never heard of.
func (a *api) router(hasOrigins bool) http.Handler {
	mux := chi.NewRouter()
	mux.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := chi.RouteContext(r.Context())
			path.RouteMethod, path.RoutePath = http.MethodGet, r.URL.Path
			next.ServeHTTP(w, r)
		})
	})
	for _, rt := range a.routes() {
		serve := a.serve(rt, hasOrigins)
		mux.Get(rt.pattern, serve)
		if bare := strings.TrimSuffix(rt.pattern, "/"); bare != "" {
			mux.Get(bare, serve)
		}
	}
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) { a.fail(w, r, notFound) })
	return mux
}

// serve answers the requests of one route.
func (a *api) serve(rt route, hasOrigins bool) http.HandlerFunc {
	allow, vary := []string{rt.allow()}, []string{rt.vary(hasOrigins)}
	options, hasID := rt.metadata(), strings.Contains(rt.pattern, "{id}")
	return func(w http.ResponseWriter, r *http.Request) {
		if hasID && !isDigits(r.PathValue("id")) {
			a.fail(w, r, notFound)
			return
		}
		requestOf(r.Context()).route = rt.pattern
		w.Header()["Allow"], w.Header()["Vary"] = allow, vary
		handle, err := a.admit(rt, r)
		switch {
		case err != nil:
		case handle != nil:
			err = handle(w, r)
		case r.Method == http.MethodOptions:
			writeBody(w, http.StatusOK, options)
		default:
			err = newDetail(http.StatusMethodNotAllowed, `Method "`+r.Method+`" not allowed.`)
		}
		if err != nil {
			a.fail(w, r, err)
		}
	}
}

// admit does the checks that come before a request's method: Accept, then the
// token, then the user's state, unless a query or a command is about to check
// that itself. It answers the method's handler, or nil when the route has none.
func (a *api) admit(rt route, r *http.Request) (handler, error) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handle := rt.methods[method]
	if rt.access == public {
		return handle, nil
	}
	if err := negotiate(r, rt.forms()); err != nil {
		return nil, err
	}
	if rt.access == tokenIgnored {
		return handle, nil
	}
	user, err := a.authenticate(r)
	if user == nil && err == nil && r.Method == http.MethodGet && askedForm(r, rt.forms()) == streamType {
		user, err = a.byTicket(r)
	}
	if err != nil {
		return nil, err
	}
	if user == nil {
		if rt.access >= tokenRequired {
			return nil, notAuthenticated
		}
		return handle, nil
	}
	known := requestOf(r.Context())
	known.user, known.standing = user.user, user
	if rt.access >= staffOnly {
		return handle, a.permit(r, rt.access == staffOrSelf, events.Admin, events.Auditor)
	}
	if handle != nil && (method == http.MethodGet || rt.access == tokenRequired && user.Seen() > 0) {
		return handle, nil
	}
	return handle, user.Check(r.Context())
}

// metadata is the answer to OPTIONS, as Django REST Framework's SimpleMetadata
// has it without fields.
func (rt route) metadata() []byte {
	body := appendString([]byte(`{"name":`), rt.name)
	return append(body, `,"description":"","renders":["application/json"],`+
		`"parses":["application/json","application/x-www-form-urlencoded","multipart/form-data"]}`...)
}

// isDigits tells of a part of a path whether it can be an id. chi lets an empty
// one through ("/api/patients//"), and its patterns with it.
func isDigits(part string) bool {
	return part != "" && strings.Trim(part, "0123456789") == ""
}

// pathID is the {id} of the path. There is no record 0, and no id beyond 63
// bits, so that is what those become.
func pathID(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0
	}
	return id
}
