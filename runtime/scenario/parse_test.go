package scenario

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hopgate/hopgate/lang"
)

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty file", "", "1:1: the file is empty [empty-file]"},
		{"only a comment", "# nothing\n", "1:1: the file has no scenario, only comments [empty-file]"},
		{"not YAML", "steps: [\n", "1:1: not YAML: did not find expected node content [yaml-syntax]"},
		{"a second document", "steps: [{connect: {}}]\n---\nsteps: []\n", "2:1: a second document [yaml]"},
		{"a list", "- connect: {}\n", "1:1: expected a scenario with the keys networks, steps, found a list [wrong-kind]"},
		{"no steps", "networks: {}\n", "1:1: a scenario needs `steps` [missing-key]"},
		{"steps that are none", "steps: []\n", "1:1: `steps` is empty [empty]"},
		{"an unknown key", "step: []\n", "1:1: a scenario has no key `step` [unknown-key]"},
		{"a duplicate key", "steps: [{connect: {}}]\nsteps: [{connect: {}}]\n", "2:1: `steps` is given twice [duplicate-key]"},
		{"an alias of itself", "steps: &a [*a]\n", "1:12: `*a` stands for a value that contains it [limit]"},
		{"a character of another encoding", "steps: [{close: \xff}]\n", "1:17: this is not UTF-8 [unreadable]"},
		{"a tag", "steps: [{close: !!str 1}]\n", "1:17: tags have no meaning in a scenario [yaml]"},
		{"a step of two kinds", "steps: [{connect: {}, accept: {}}]\n", "1:23: a step does one thing: `connect` or `accept` [unknown-key]"},
		{"a step of no kind", "steps: [{expect: deny}]\n", "1:9: the step says nothing to do [missing-key]"},
		{"a key of another step", "steps: [{close: 1, expect: deny}]\n", "1:17: no step before has a flow `1` [undefined-name]"},
		{"an unknown key in a step", "steps: [{connect: {}, expected: deny}]\n", "1:23: a `connect` step has no key `expected` [unknown-key]"},
		{"an unknown verdict", "steps: [{connect: {}, expect: block}]\n", "1:31: `block` is no verdict [unknown-value]"},
		{"an unknown network", "networks: {office: {}}\nsteps: [{network: offce}]\n", "2:19: there is no network `offce` [undefined-name]"},
		{"a network that is no name", "networks: {Office 1: {}}\nsteps: [{connect: {}}]\n", "1:12: `Office 1` is no name for a network: lower-case letters, digits, `-` and `_` [bad-id]"},
		{"a network of something else", "networks: {office: {remote: 10.0.0.1}}\nsteps: [{connect: {}}]\n", "1:21: a network has no key `remote` [unknown-key]"},
		{"a list for one value", "steps: [{connect: {remote: [10.0.0.1, 10.0.0.2]}}]\n", "1:28: expected one value, found a list [wrong-kind]"},
		{"a missing value", "steps: [{connect: {remote: }}]\n", "1:28: a value is missing [null]"},
		{"a flow of a later step", "steps: [{network: a, expect: {1: deny}}, {connect: {}}]\nnetworks: {a: {}}\n", "1:31: no step before has a flow `1` [undefined-name]"},
		{"a flow by its number that has a name", "steps: [{connect: {}, flow: web}, {close: 1}]\n", "1:43: no step before has a flow `1` [undefined-name]"},
		{"two flows of a name", "steps: [{connect: {}, flow: web}, {connect: {}, flow: web}]\n", "1:55: there is a flow `web` already [duplicate-name]"},
		{"a flow that is no name", "steps: [{connect: {}, flow: 7}]\n", "1:29: `7` is no name for a flow: lower-case letters, digits, `-` and `_`, a letter first [bad-id]"},
		{"an incomplete redirection", "steps: [{redirect: {from: 10.0.0.1}}]\n", "1:20: a redirection needs `from` and `to` [missing-key]"},
		{"a redirection between families", "steps: [{redirect: {from: '10.0.0.1:1', to: '[::1]:1'}}]\n", "1:20: `10.0.0.1:1` and `[::1]:1` are of different families [mixed-families]"},
		{"a redirection to a name", "steps: [{redirect: {from: 10.0.0.1, to: proxy}}]\n", "1:41: `proxy` is no destination [bad-address]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("s.yaml", []byte(test.text))
			require.Error(t, err)
			first, _, _ := strings.Cut(err.Error(), "\n")
			require.Equal(t, "s.yaml:"+test.want, first)
		})
	}
}

func TestHints(t *testing.T) {
	for text, want := range map[string]string{
		"steps:\n  - connect: {remote: [::1]:443/tcp}\n":             "write `'[::1]:443/tcp'`",
		"steps: [{conect: {}}]\n":                                    "did you mean `connect` for `conect`?",
		"steps: [{connect: {}, expcet: deny}]\n":                     "did you mean `expect`?",
		"networks: {office: {}}\nsteps: [{network: offce}]\n":        "did you mean `office`?",
		"steps: [{connect: {}, flow: web}, {close: 1}]\n":            "connection 1 is called `web`",
		"steps: [{connect: {}, flow: web}, {close: wbe}]\n":          "did you mean `web`?",
		"steps: [{redirect: {from: 10.0.0.1, to: [10.0.0.2, 1]}}]\n": "",
	} {
		_, err := Parse("s.yaml", []byte(text))
		var found lang.Diagnostics
		require.ErrorAs(t, err, &found)
		require.Equal(t, want, found[0].Hint, text)
	}
}

// As many errors as there are come out of one run.
func TestParseReportsAll(t *testing.T) {
	_, err := Parse("s.yaml", []byte("networks: {a: {speed: 1}}\nsteps: [{connect: {}, expect: no}, {move: b}]\n"))
	require.EqualError(t, err, "s.yaml:1:16: a network has no key `speed` [unknown-key]\n"+
		"s.yaml:2:31: `no` is no verdict [unknown-value]\n"+
		"s.yaml:2:36: the step says nothing to do [missing-key]")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("networks: {a: {interface_type: wifi}}\nsteps: [{network: a, expect: {}}, {connect: {remote: '10.0.0.1:1'}, flow: x}, {close: x}, {redirect: {from: 10.0.0.1, to: 10.0.0.2}}]\n"))
	f.Add([]byte("steps:\n  - accept: {local: '[::1]:22'}\n    expect: deny\n    by: default\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		Run(s, nil, &Options{}) // may fail, may not panic
	})
}
