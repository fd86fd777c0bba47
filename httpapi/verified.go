package httpapi

import (
	"sync"
	"time"
)

// maxVerified is how many tokens are remembered twice over: some 300 bytes each.
const maxVerified = 10_000

// verified remembers access tokens whose signature and claims were found good, by
// their whole text, until they expire: a client sends the same one with every
// request, and checking it costs as much as the rest of a small read. What can
// change while a token lives (the user's state, the password) is no part of it
// and is asked for with each request.
//
// Memory is bounded by two generations: when the younger one is full it becomes
// the older one, and what nobody has asked for since then is forgotten.
type verified struct {
	mu             sync.Mutex
	younger, older map[string]checked
}

// find answers what a token tells that was found good before and has not expired.
func (v *verified) find(raw string, now time.Time) (checked, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	token, known := v.younger[raw]
	if !known {
		if token, known = v.older[raw]; known {
			v.keep(raw, token)
		}
	}
	return token, known && now.Before(token.expires)
}

// add remembers a token that was found good.
func (v *verified) add(raw string, token checked) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keep(raw, token)
}

func (v *verified) keep(raw string, token checked) {
	if len(v.younger) >= maxVerified {
		v.older, v.younger = v.younger, nil
	}
	if v.younger == nil {
		v.younger = map[string]checked{}
	}
	v.younger[raw] = token
}
