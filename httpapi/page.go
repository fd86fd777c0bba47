package httpapi

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/carelog/carelog/projections"
)

// maxLimit is how many rows a page has at most; a higher limit counts as this.
const maxLimit = 1000

// window is the part of a list that a request asks for.
type window struct {
	limit  int64 // 1 to maxLimit; 0 stands for the whole list
	offset int64 // 0 or more
	query  body  // what the URL's query says, all of it
}

// windowOf reads ?limit=&offset= as Django REST Framework's
// LimitOffsetPagination does: a limit that is no positive integer is none, an
// offset that is no such is 0, and the last of several counts.
func windowOf(r *http.Request) (window, error) {
	if r.URL.RawQuery == "" {
		return window{}, nil
	}
	query, err := parseForm(r.URL.RawQuery, decoderFor(""))
	if err != nil {
		return window{}, err
	}
	return window{
		limit:  countIn(query, "limit", maxLimit),
		offset: countIn(query, "offset", math.MaxInt64-maxLimit),
		query:  query,
	}, nil
}

// countIn is a number of the query, at most most; 0 when it is not there, no
// integer or negative.
func countIn(query body, name string, most int64) int64 {
	v, _ := query.get(name)
	n, err := parseInteger(v.text) // answers the nearest to what is out of range
	if errors.Is(err, strconv.ErrSyntax) {
		return 0
	}
	return min(max(n, 0), most)
}

// serveList answers with a list: all of it as an array, or with ?limit= a page.
func serveList[R any](a *api, w http.ResponseWriter, r *http.Request,
	all func(ctx context.Context, user projections.Session) ([]R, error),
	part func(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[R], error),
	appendRow func([]byte, R) []byte) error {
	ctx, user := r.Context(), userOf(r)
	win, err := windowOf(r)
	if err != nil {
		_, refused := a.checkUser(ctx, user)
		return cmp.Or(refused, err)
	}
	if win.limit == 0 {
		rows, err := asUser(ctx, a, user, func() ([]R, error) { return all(ctx, user) })
		if err != nil {
			return err
		}
		return a.writeLong(w, r, func(dst []byte) []byte { return appendList(dst, rows, appendRow) })
	}
	page, err := asUser(ctx, a, user, func() (projections.Page[R], error) { return part(ctx, user, win.limit, win.offset) })
	if err != nil {
		return err
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"count":`...)
		dst = strconv.AppendInt(dst, page.Count, 10)
		dst = append(dst, `,"next":`...)
		dst = appendLink(dst, win.offset+win.limit < page.Count, r, win, win.offset+win.limit)
		dst = append(dst, `,"previous":`...)
		dst = appendLink(dst, win.offset > 0, r, win, win.offset-win.limit)
		dst = append(dst, `,"results":`...)
		return append(appendList(dst, page.Rows, appendRow), '}')
	})
}

// appendLink writes the URL of the page at another offset, or null when there is
// none. The other parameters of the query are kept; all are sorted by name. The
// first page has no offset.
func appendLink(dst []byte, exists bool, r *http.Request, win window, offset int64) []byte {
	if !exists {
		return append(dst, "null"...)
	}
	query := slices.DeleteFunc(slices.Clone(win.query.members), func(m member) bool { return m.name == "limit" || m.name == "offset" })
	query = append(query, member{"limit", value{kindString, strconv.FormatInt(win.limit, 10)}})
	if offset > 0 {
		query = append(query, member{"offset", value{kindString, strconv.FormatInt(offset, 10)}})
	}
	slices.SortStableFunc(query, func(a, b member) int { return strings.Compare(a.name, b.name) })
	link := origin(r) + r.URL.Path
	for i, parameter := range query {
		separator := "&"
		if i == 0 {
			separator = "?"
		}
		link += separator + url.QueryEscape(parameter.name) + "=" + url.QueryEscape(parameter.value.text)
	}
	return appendString(dst, link)
}

// origin is the scheme and host that the client has asked. A proxy that ends TLS says
// so in X-Forwarded-Proto; it needs no trust, since whoever sets it gets links of
// their own that begin with https.
func origin(r *http.Request) string {
	if r.Host == "" { // HTTP/1.0: the link is relative to what was asked for
		return ""
	}
	scheme := "http://"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https://"
	}
	return scheme + r.Host
}
