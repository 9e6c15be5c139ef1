package compiler

import "fmt"

// SetChange is how the values of a dynamic set change while a policy runs.
type SetChange uint8

const (
	ReplaceSet SetChange = iota // these and no others
	AddToSet                    // these, too
	RemoveFromSet
)

// Apply gives what a set that held ranges holds after the change. Both are sorted,
// disjoint and not touching, and so is the result; adding puts them in order.
func (c SetChange) Apply(ranges, change []Range) []Range {
	switch c {
	case AddToSet:
		return unite(ranges, change)
	case RemoveFromSet:
		return subtract(ranges, change)
	}
	return change
}

// SetRanges reads literals of the policy language as values of a dynamic set, whose
// field is as in Set. The error names the literal.
func SetRanges(f Field, literals []string) ([]Range, error) {
	u := &union{kind: f}
	for _, text := range literals {
		switch p := u.addPlain(text); {
		case p == nil:
		case p.hint != "":
			return nil, fmt.Errorf("%w [%s]: %s", p, p.code, p.hint)
		default:
			return nil, fmt.Errorf("%w [%s]", p, p.code)
		}
	}
	return normalize(u.ranges[anyTransport]), nil
}
