package tests

import (
	"os/exec"
	"testing"
)

// What a person waits for: a whole process, from start to exit.
func BenchmarkCheckProcess(b *testing.B) {
	for b.Loop() {
		if out, err := exec.Command("hopgate", "check", "../examples/vpn-kill-switch.yaml").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
