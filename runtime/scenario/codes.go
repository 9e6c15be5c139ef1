package scenario

import "github.com/hopgate/hopgate/lang"

const (
	codeBadRequest        = "bad-request"
	codeExpectationFailed = "expectation-failed"
)

// Codes documents the codes of what playing a scenario finds; those of reading it are
// lang's.
func Codes() []lang.Code {
	return []lang.Code{
		{
			Name: codeBadRequest, Syntax: lang.YAML,
			Title:       "a network or a connection of a scenario that cannot be",
			Explanation: "Their fields and literals are those of the policy language, one value a field. A `$name` is an interface of one of the policies.",
			Bad: `steps:
  - connect: {remote: '192.0.2.1:443', interface_type: wify}
`,
			Good: `steps:
  - connect: {remote: '192.0.2.1:443', interface_type: wifi}
`,
		},
		{
			Name: codeExpectationFailed, Syntax: lang.YAML,
			Title:       "a decision of a scenario is not as expected",
			Explanation: "The policies gave another verdict than `expect` says, or another rule than `by` says decided. `hopgate eval --explain` says why.",
			Bad: `steps:
  - connect: {remote: '192.0.2.1:443'}
    expect: deny # no policy denies it
`,
			Good: `steps:
  - connect: {remote: '192.0.2.1:443'}
    expect: allow
`,
		},
	}
}
