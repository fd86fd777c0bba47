package commands

import (
	"errors"
	"strings"
	"testing"
)

// The expected messages are those of Django 5.2, asked with the same rules in
// the same order.
func TestCheckPassword(t *testing.T) {
	const (
		short   = "This password is too short. It must contain at least 8 characters."
		numeric = "This password is entirely numeric."
		common  = "This password is too common."
		name    = "The password is too similar to the name."
		email   = "The password is too similar to the email address."
	)
	tests := []struct {
		password, name, email string
		want                  string
	}{
		{"securepassword123", "John Doe", "john@example.com", ""},
		{"", "", "", short},
		{"hunter2", "John Doe", "john@example.com", short},
		{"1234567", "John Doe", "john@example.com", short},
		{"🏥🏥🏥🏥🏥🏥🏥", "John Doe", "john@example.com", short},
		{"🏥🏥🏥🏥🏥🏥🏥🏥", "John Doe", "john@example.com", ""},
		{"8675309867", "John Doe", "john@example.com", numeric},
		{"٣٠٣٠٣٠٣٠", "John Doe", "john@example.com", numeric},
		{"²²²²²²²²", "John Doe", "john@example.com", numeric},
		{"8675309867x", "John Doe", "john@example.com", ""},
		{"password1", "John Doe", "john@example.com", common},
		{"PASSWORD", "John Doe", "john@example.com", common},
		{" password ", "John Doe", "john@example.com", common},
		{"\u00a0Password1\x1c", "John Doe", "john@example.com", common},
		{"pass word1", "John Doe", "john@example.com", ""},
		{"qwertyuiop", "Qwertyuiop", "qwertyuiop@example.com", common}, // the first rule that is broken
		{"        ", "", "", ""},
		{"johndoe1", "John Doe", "jd@example.com", name},
		{"nhojeod8", "John Doe", "jd@example.com", name}, // the order of characters does not count
		{"JOHN DOE!", "john doe", "jd@example.com", name},
		{"alexanderplatz", "Alexanderplatz", "jd@example.com", name},
		{"obrien-smith", "Zoë O'Brien-Smith", "", name},
		{"johnjohnjohn", "John Doe", "jd@example.com", ""},
		{"vanderberg", "Mary Ann van der Berg", "", ""},
		{"john.doe@ex", "", "john.doe@example.com", email},
		{"john.doe", "", "john.doe@example.com", ""}, // 16 of 28 characters, and its parts are shorter
		{"examplecom", "", "john.doe@example.com", email},
		{"example7", "", "john.doe@example.com", email}, // each part of the address
		{"exampleexample", "", "john.doe@example.com", ""},
		{"princess-9f", "Prince", "", name},
		{"princess-9f-", "Prince", "", ""}, // 12 of 18 characters
		{strings.Repeat("x", 1024), strings.Repeat("x", 99), "", ""},
		{strings.Repeat("x", 64), strings.Repeat("x", 64), "", name},
	}
	for _, test := range tests {
		err := CheckPassword(test.password, test.name, test.email)
		got := ""
		if refused := (*PasswordError)(nil); errors.As(err, &refused) {
			got = refused.Message
		} else if err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("CheckPassword(%q, %q, %q): got %q, want %q", test.password, test.name, test.email, got, test.want)
		}
	}
}

func TestCommonPasswords(t *testing.T) {
	list, err := commonPasswords()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 19640 {
		t.Errorf("got %d common passwords, want 19640", len(list))
	}
	for _, password := range list {
		if password == "" || strings.TrimFunc(strings.ToLower(password), isSpace) != password {
			t.Errorf("%q could never match", password)
		}
	}
}
