package httpapi

import "testing"

// The expected texts are those of Python 3.11's str().
func TestStr(t *testing.T) {
	tests := []struct{ json, want string }{
		{`null`, "None"},
		{`true`, "True"},
		{`false`, "False"},
		{`"x"`, "x"},
		{`5`, "5"},
		{`-0`, "0"},
		{`100000000000000000000`, "100000000000000000000"},
		{`5.0`, "5.0"},
		{`1.50`, "1.5"},
		{`3E1`, "30.0"},
		{`-0.0`, "-0.0"},
		{`1e15`, "1000000000000000.0"},
		{`9999999999999998.0`, "9999999999999998.0"},
		{`1e16`, "1e+16"},
		{`1e22`, "1e+22"},
		{`1.7976931348623157e308`, "1.7976931348623157e+308"},
		{`0.0001`, "0.0001"},
		{`0.00001`, "1e-05"},
		{`1.5e-7`, "1.5e-07"},
		{`4.9e-324`, "5e-324"},
		{`1e-400`, "0.0"},
		{`1e400`, "inf"},
		{`-1e400`, "-inf"},
		{`[]`, "[]"},
		{` { } `, "{}"},
		{`[ 30 ,"x",[null,true,false,1.50] ]`, "[30, 'x', [None, True, False, 1.5]]"},
		{`{"a" :30,"b":{"c":[]}}`, "{'a': 30, 'b': {'c': []}}"},
		{`["it's","\"","'\""]`, `["it's", '"', '\'"']`},
		{`["\n\r\t\\\u0001\u007f\u00ad\u200b\ud800\ue000é😀"]`, `['\n\r\t\\\x01\x7f\xad\u200b\ud800\ue000é😀']`},
	}
	for _, test := range tests {
		v, _, err := parseJSON(test.json)
		if err != nil {
			t.Fatal(err)
		}
		if v.kind == kindObject {
			v.text = test.json // which the outermost object does not keep
		}
		if got := v.str(); got != test.want {
			t.Errorf("%s: got %s, want %s", test.json, got, test.want)
		}
	}
}

func TestTrim(t *testing.T) {
	const space = "\t\n\v\f\r \x1c\x1d\x1e\x1f\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
	for _, text := range []string{"x", "a\u00a0b", "\u200bx\u200b", "\x00", "\uFEFF"} {
		if got := trim(space + text + space); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	if got := trim(space); got != "" {
		t.Errorf("got %q", got)
	}
}
