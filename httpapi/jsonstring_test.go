package httpapi

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestAppendString(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", `""`},
		{"Zoë 李明 🏥 <b>&amp;</b>", `"Zoë 李明 🏥 <b>&amp;</b>"`},
		{`a"b\c/`, `"a\"b\\c/"`},
		{"\b\f\n\r\t\x00\x1f\x7f\u0080", `"\b\f\n\r\t\u0000\u001f` + "\x7f\u0080" + `"`},
		{"a\u2028b\u2029\u202a", `"a\u2028b\u2029` + "\u202a" + `"`},
		{"a\xffb\xc3", `"a` + "\uFFFD" + `b` + "\uFFFD" + `"`},
		{"\uFFFD", "\"\uFFFD\""},
		{"x\xed\xa0\xbdy", "\"x\uFFFDy\""}, // a lone surrogate is one character
		{"\xed\xa0", "\"\uFFFD\uFFFD\""},
	}
	for _, test := range tests {
		got := string(appendString(nil, test.text))
		if got != test.want {
			t.Errorf("%q: got %s, want %s", test.text, got, test.want)
		}
		if !utf8.ValidString(got) || !json.Valid([]byte(got)) {
			t.Errorf("%q: %q is no JSON", test.text, got)
		}
	}
	if got := string(appendString([]byte("x:"), "y")); got != `x:"y"` {
		t.Errorf("got %s", got)
	}
}

func TestSurrogates(t *testing.T) {
	for r := rune(0xD800); r <= 0xDFFF; r++ {
		text := "퟿" + string(appendSurrogate(nil, r)) + "\uE000" // its neighbours
		if got, ok := findSurrogate(text); !ok || got != r {
			t.Fatalf("U+%X: got U+%X", r, got)
		}
		if length(text) != 3 {
			t.Fatalf("U+%X: counted as %d characters", r, length(text)-2)
		}
	}
	for _, text := range []string{"", "퟿\uE000🏥", "\xed", "\xed\xa0", "\xed\xa0a"} {
		if r, ok := findSurrogate(text); ok {
			t.Errorf("%q: got U+%X", text, r)
		}
	}
}
