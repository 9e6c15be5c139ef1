package proof

import (
	"errors"
	"math"
)

// DefaultEffort is what the proof of a function may cost that is not to keep anybody
// waiting: half a second or so, and two thousand rules at least.
const DefaultEffort = 8_000_000

// effort is what the proof of a function may still cost, in steps of some 60 ns. Work is
// bounded and not time, so that the outcome is the same on every machine.
type effort struct{ left int }

// newEffort is a bound; 0 is none.
func newEffort(limit int) effort {
	if limit <= 0 {
		limit = math.MaxInt
	}
	return effort{limit}
}

func (e *effort) spend(steps int) error {
	if e.left -= steps; e.left < 0 {
		return errEffort
	}
	return nil
}

var errEffort = errors.New("out of steps")

// What is done, in steps.
const (
	perInstruction = 10 // executed on symbols
	perNode        = 5  // that a box comes to
	perPoint       = 1000
)
