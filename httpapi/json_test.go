package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// jsonErrors are texts that the reference refuses, and what it says. Places are
// those of Python's json module.
var jsonErrors = []struct{ text, want string }{
	{" ", "Expecting value: line 1 column 2 (char 1)"},
	{"tru", "Expecting value: line 1 column 1 (char 0)"},
	{"nullx", "Extra data: line 1 column 5 (char 4)"},
	{"{}\x00", "Extra data: line 1 column 3 (char 2)"},
	{`{"a":1} {"b":2}`, "Extra data: line 1 column 9 (char 8)"},
	{"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"},
	{"{'a':1}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"},
	{`{"a":1,}`, "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)"},
	{`{"a" 1}`, "Expecting ':' delimiter: line 1 column 6 (char 5)"},
	{`{"name": `, "Expecting value: line 1 column 10 (char 9)"},
	{`{"a":1 "b":2}`, "Expecting ',' delimiter: line 1 column 8 (char 7)"},
	{"{\n \"é\": 1,\n \"😀\": x}", "Expecting value: line 3 column 7 (char 17)"},
	{"[1,]", "Expecting value: line 1 column 4 (char 3)"},
	{"[1", "Expecting ',' delimiter: line 1 column 3 (char 2)"},
	{"[1}", "Expecting ',' delimiter: line 1 column 3 (char 2)"},
	{"01", "Extra data: line 1 column 2 (char 1)"},
	{"1.", "Extra data: line 1 column 2 (char 1)"},
	{"1e+", "Extra data: line 1 column 2 (char 1)"},
	{"-", "Expecting value: line 1 column 1 (char 0)"},
	{"+1", "Expecting value: line 1 column 1 (char 0)"},
	{`{"age":NaN}`, "Out of range float values are not JSON compliant: 'NaN'"},
	{"Infinity", "Out of range float values are not JSON compliant: 'Infinity'"},
	{"[-Infinity]", "Out of range float values are not JSON compliant: '-Infinity'"},
	{`"abc`, "Unterminated string starting at: line 1 column 1 (char 0)"},
	{`["abc\`, "Unterminated string starting at: line 1 column 2 (char 1)"},
	{"\"a\tb\"", "Invalid control character at: line 1 column 3 (char 2)"},
	{`"\x"`, `Invalid \escape: line 1 column 2 (char 1)`},
	{`"\u12"`, `Invalid \uXXXX escape: line 1 column 3 (char 2)`},
	{`"\ud800\u12"`, `Invalid \uXXXX escape: line 1 column 9 (char 8)`},
	{"\uFEFF{}", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"},
	{"{\"first_name\":\"\xff\"}", "'utf-8' codec can't decode byte 0xff in position 15: invalid start byte"},
	{"\"\xc3(\"", "'utf-8' codec can't decode byte 0xc3 in position 1: invalid continuation byte"},
	{"\"\xed\xa0\x80\"", "'utf-8' codec can't decode byte 0xed in position 1: invalid continuation byte"},
	{"\"\xe2\x82", "'utf-8' codec can't decode byte 0xe2 in position 1: unexpected end of data"},
	{strings.Repeat("[", maxDepth) + "{}", "The nesting is too deep, more than 64 levels: line 1 column 65 (char 64)"},
	{strings.Repeat(`{"a":`, 100000), "The nesting is too deep, more than 64 levels: line 1 column 321 (char 320)"},
	{"-" + strings.Repeat("9", maxDigits+1), "Exceeds the limit (4300 digits) for integer string conversion: value has 4301 digits"},
}

func TestParseJSONRefuses(t *testing.T) {
	for _, test := range jsonErrors {
		_, _, err := parseJSON(test.text)
		if err == nil {
			t.Errorf("%.60q was accepted", test.text)
		} else if err.Error() != test.want {
			t.Errorf("%.60q:\n got %s\nwant %s", test.text, err, test.want)
		}
	}
}

func TestParseJSONValues(t *testing.T) {
	deepest := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	longest := strings.Repeat("9", maxDigits)
	tests := []struct {
		text string
		want value
	}{
		{"null", value{kindNull, "null"}},
		{" true\r\n\t", value{kindBool, "true"}},
		{"false", value{kindBool, "false"}},
		{"-0", value{kindInt, "-0"}},
		{longest, value{kindInt, longest}},
		{"1.50", value{kindFloat, "1.50"}},
		{"3E1", value{kindFloat, "3E1"}},
		{"-1e+400", value{kindFloat, "-1e+400"}},
		{longest + "9.0", value{kindFloat, longest + "9.0"}},
		{`""`, value{kindString, ""}},
		{"\"é\u007f😀\"", value{kindString, "é\u007f😀"}},
		{`"\"\\\/\b\f\n\r\tx\u0000\u00e9\u20AC"`, value{kindString, "\"\\/\b\f\n\r\tx\x00é€"}},
		{`"\ud83d\ude00"`, value{kindString, "😀"}},
		{`"\ud83d"`, value{kindString, "\xed\xa0\xbd"}},
		{`"\ud83dx\ude00"`, value{kindString, "\xed\xa0\xbdx\xed\xb8\x80"}},
		{`"\ude00\ud83d\ude00"`, value{kindString, "\xed\xb8\x80😀"}},
		{`"\ud83d\u0041"`, value{kindString, "\xed\xa0\xbdA"}},
		{`[1, "a", {}]`, value{kindList, `[1, "a", {}]`}},
		{deepest, value{kindList, deepest}},
	}
	for _, test := range tests {
		got, members, err := parseJSON(test.text)
		if err != nil || members != nil || got != test.want {
			t.Errorf("%.60q: got %s %.60q, %v, %v, want %s %.60q", test.text, got.kind, got.text, members, err, test.want.kind, test.want.text)
		}
	}
}

func TestParseJSONObject(t *testing.T) {
	v, members, err := parseJSON(` { "age" : 1 , "AGE":2, "a\u0067e":"three","b":{"age":[ 4 ]} } `)
	if err != nil || v.kind != kindObject {
		t.Fatal(v, err)
	}
	b := body{v.kind, members}
	for name, want := range map[string]value{
		"age": {kindString, "three"}, // the last one
		"AGE": {kindInt, "2"},
		"b":   {kindObject, `{"age":[ 4 ]}`},
	} {
		if got, ok := b.get(name); !ok || got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if _, ok := b.get("Age"); ok {
		t.Error("names differ in case")
	}
}

// FuzzParseJSON compares with encoding/json, which has the same grammar but lets
// bad UTF-8 through and knows no limits to depth and digits worth mentioning.
func FuzzParseJSON(f *testing.F) {
	for _, test := range jsonErrors {
		if len(test.text) < 100 {
			f.Add(test.text)
		}
	}
	f.Add(`{"first_name":"A\u00e9\ud83d\ude00 b","age":30.5e1,"x":[1,-2,{"y":null}],"z":true}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, members, err := parseJSON(text)
		if err != nil {
			if strings.Contains(err.Error(), "too deep") || strings.Contains(err.Error(), "4300") {
				return
			}
			if json.Valid([]byte(text)) && utf8.ValidString(text) {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
			t.Fatal("accepted")
		}
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &want) != nil {
			return
		}
		b := body{kindObject, members}
		for name, raw := range want {
			if strings.ContainsRune(name, utf8.RuneError) {
				continue // may have been a lone surrogate
			}
			got, ok := b.get(name)
			if !ok {
				t.Fatalf("%q is missing", name)
			}
			if got.kind != kindString {
				if got.text != string(raw) {
					t.Fatalf("%q: got %s, want %s", name, got.text, raw)
				}
				continue
			}
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				t.Fatal(err)
			}
			if _, lone := findSurrogate(got.text); !lone && got.text != text {
				t.Fatalf("%q: got %q, want %q", name, got.text, text)
			}
		}
	})
}
