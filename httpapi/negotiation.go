package httpapi

import (
	"net/http"
	"strconv"
	"strings"
)

var notAcceptable = newDetail(http.StatusNotAcceptable, "Could not satisfy the request Accept header.")

// formatParameter of the query asks for a format by name.
const formatParameter = "format"

// negotiate makes sure that the client takes JSON, as Django REST Framework's
// DefaultContentNegotiation does with a JSON renderer alone: parameters are not
// looked at, q=0 neither, an absent header accepts everything and an empty one
// nothing. There is one format that the query may ask for.
//
// A route may have other forms besides, which must be asked for by name.
func negotiate(r *http.Request, forms []string) error {
	if r.URL.RawQuery != "" {
		formats := r.URL.Query()[formatParameter]
		if len(formats) > 0 {
			if last := formats[len(formats)-1]; last != "" && last != "json" {
				return notFound
			}
		}
	}
	header := r.Header["Accept"]
	if len(header) == 0 || askedForm(r, forms) != "" {
		return nil
	}
	for _, line := range header {
		for ranges := range strings.SplitSeq(line, ",") {
			if acceptsJSON(ranges) {
				return nil
			}
		}
	}
	return notAcceptable
}

// acceptsJSON tells of one media range whether it covers application/json.
func acceptsJSON(mediaRange string) bool {
	mediaRange, _, _ = strings.Cut(mediaRange, ";")
	mainType, subType, _ := strings.Cut(strings.TrimSpace(mediaRange), "/")
	return (mainType == "*" || strings.EqualFold(mainType, "application")) &&
		(subType == "*" || strings.EqualFold(subType, "json"))
}

// askedForm is the media type that the Accept header names, of those that a route has
// besides JSON, unless JSON is worth more to it by name; empty for JSON.
func askedForm(r *http.Request, forms []string) (form string) {
	accept := r.Header["Accept"]
	worth := weight(accept, "application/json")
	for _, f := range forms {
		if w := weight(accept, f); w > worth || w == worth && w > 0 && form == "" {
			form, worth = f, w
		}
	}
	return form
}

// prefersHTML tells of a browser that shows a page: what it accepts has HTML by name,
// and that is worth more to it than JSON.
func prefersHTML(r *http.Request) bool {
	accept := r.Header["Accept"]
	return weight(accept, "text/html") > weight(accept, "application/json", "application/*", "*/*")
}

// weight is what a header like Accept gives to the first of these names that it has, 0
// to 1 (RFC 9110, 12.4.2); 0 when it has none.
func weight(lines []string, names ...string) float64 {
	for _, name := range names {
		for element := range strings.SplitSeq(strings.Join(lines, ","), ",") {
			value, parameters, _ := strings.Cut(element, ";")
			if !strings.EqualFold(strings.TrimSpace(value), name) {
				continue
			}
			for parameter := range strings.SplitSeq(parameters, ";") {
				if key, q, _ := strings.Cut(parameter, "="); strings.EqualFold(strings.TrimSpace(key), "q") {
					worth, _ := strconv.ParseFloat(strings.TrimSpace(q), 64) // what is no number is worth nothing
					return worth
				}
			}
			return 1
		}
	}
	return 0
}
