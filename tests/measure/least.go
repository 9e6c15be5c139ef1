//go:build linux

// Package measure says how many nanoseconds programs take in the Linux kernel, by its own
// statistics (run_time_ns / run_cnt).
package measure

import (
	"fmt"
	"math"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A Batch runs a program many times, in each round on other input, for the processor
// would learn what comes again.
type Batch struct {
	Program *ebpf.Program
	Run     func(round int) error
}

// rounds is how often batches are run, of which the quietest counts.
const rounds = 9

// Least runs the batches in turn, for some rounds, and gives for each the mean of its
// quietest round: the machine may be busy with other work, now with more, now with
// less.
func Least(batches ...Batch) ([]float64, error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, err
	}
	defer stats.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := make([]float64, len(batches))
	for i := range least {
		least[i] = math.Inf(1)
	}
	for round := range rounds {
		for i, b := range batches {
			before, err := b.Program.Stats()
			if err != nil {
				return nil, err
			}
			if err := b.Run(round); err != nil {
				return nil, err
			}
			after, err := b.Program.Stats()
			if err != nil {
				return nil, err
			}
			runs := after.RunCount - before.RunCount
			if runs == 0 {
				return nil, fmt.Errorf("%v never ran", b.Program)
			}
			least[i] = min(least[i], float64((after.Runtime-before.Runtime).Nanoseconds())/float64(runs))
		}
	}
	return least, nil
}

// share is a round's part of a list.
func share[T any](list []T, round int) []T {
	return list[round*len(list)/rounds : (round+1)*len(list)/rounds]
}
