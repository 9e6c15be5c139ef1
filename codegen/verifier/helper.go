package verifier

import (
	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/codegen"
)

// argument is what a helper wants in a register.
type argument uint8

const (
	none        argument = iota
	anything             // any number or address
	contextPtr           // the context
	mapPtr               // a map
	programsPtr          // a program array
	key                  // memory of the map's key size, written
	element              // memory of the map's value size, written
	readable             // memory of the size in the next argument, written
	readableOrNull
	writable // memory of the size in the next argument, which the helper writes
	size     // more than 0
	sizeOrZero
)

// helper is the prototype of a helper (ebpf_general_helpers.c and
// net_ebpf_ext_program_info.h of eBPF for Windows).
type helper struct {
	name      string
	lookup    bool // gives the address of a map's value, or null; else a number
	arguments [5]argument
}

// prototype finds a helper of programs of type BPF_PROG_TYPE_CGROUP_SOCK_ADDR. Helper
// 0xFFFF+1 is in the header of eBPF for Windows but not in its table.
func prototype(id uint32) (helper, bool) {
	numeric := func(name string) (helper, bool) { return helper{name: name}, true }
	with := func(name string, arguments ...argument) (helper, bool) {
		h := helper{name: name}
		copy(h.arguments[:], arguments)
		return h, true
	}
	switch id {
	case 1:
		return helper{"bpf_map_lookup_elem", true, [5]argument{mapPtr, key}}, true
	case 2:
		return with("bpf_map_update_elem", mapPtr, key, element, anything)
	case 3:
		return with("bpf_map_delete_elem", mapPtr, key)
	case 4:
		return helper{"bpf_map_lookup_and_delete_elem", true, [5]argument{mapPtr, key}}, true
	case 5:
		return with("bpf_tail_call", contextPtr, programsPtr, anything)
	case 6:
		return numeric("bpf_get_prandom_u32")
	case 7:
		return numeric("bpf_ktime_get_boot_ns")
	case 8:
		return numeric("bpf_get_smp_processor_id")
	case 9:
		return numeric("bpf_ktime_get_ns")
	case 10:
		return with("bpf_csum_diff", readableOrNull, sizeOrZero, readableOrNull, sizeOrZero, anything)
	case 11:
		return with("bpf_ringbuf_output", mapPtr, readable, size, anything)
	case 12:
		return with("bpf_trace_printk2", readable, size)
	case 13:
		return with("bpf_trace_printk3", readable, size, anything)
	case 14:
		return with("bpf_trace_printk4", readable, size, anything, anything)
	case 15:
		return with("bpf_trace_printk5", readable, size, anything, anything, anything)
	case 16:
		return with("bpf_map_push_elem", mapPtr, element, anything)
	case 17:
		return with("bpf_map_pop_elem", mapPtr, element)
	case 18:
		return with("bpf_map_peek_elem", mapPtr, element)
	case codegen.HelperCurrentPidTgid:
		return numeric("bpf_get_current_pid_tgid")
	case codegen.HelperCurrentLogonID:
		return with("bpf_get_current_logon_id", contextPtr)
	case codegen.HelperIsCurrentAdmin:
		return with("bpf_is_current_admin", contextPtr)
	case 22:
		return with("bpf_memcpy_s", writable, sizeOrZero, readable, sizeOrZero)
	case 23:
		return with("bpf_memcmp_s", readable, sizeOrZero, readable, sizeOrZero)
	case 24:
		return with("bpf_memset", writable, sizeOrZero, anything)
	case 25:
		return with("bpf_memmove_s", writable, sizeOrZero, readable, sizeOrZero)
	case codegen.HelperSocketCookie:
		return with("bpf_get_socket_cookie", contextPtr)
	case 27:
		return with("bpf_strncpy_s", writable, sizeOrZero, readable, sizeOrZero)
	case 28:
		return with("bpf_strncat_s", writable, sizeOrZero, readable, sizeOrZero)
	case 29:
		return with("bpf_strnlen_s", readable, sizeOrZero)
	case 30:
		return numeric("bpf_ktime_get_boot_ms")
	case 31:
		return numeric("bpf_ktime_get_ms")
	case codegen.HelperProcessStartKey:
		return numeric("bpf_get_current_process_start_key")
	case codegen.HelperThreadCreateTime:
		return numeric("bpf_get_current_thread_create_time")
	case codegen.HelperSetRedirectContext:
		return with("bpf_sock_addr_set_redirect_context", contextPtr, readable, size)
	case codegen.HelperNetworkContext:
		return with("bpf_sock_addr_get_network_context", contextPtr, writable, size)
	}
	return helper{}, false
}

// takes reports whether a map is of a type that the helper can be used with.
func takes(id uint32, m *ebpf.MapSpec) bool {
	switch m.Type {
	case ebpf.WindowsRingBuf:
		return id == 11
	case ebpf.WindowsProgramArray:
		return id == 5
	case ebpf.WindowsQueue, ebpf.WindowsStack:
		return 16 <= id && id <= 18
	case ebpf.WindowsArrayOfMaps, ebpf.WindowsHashOfMaps:
		return id == 1
	}
	return 1 <= id && id <= 4
}
