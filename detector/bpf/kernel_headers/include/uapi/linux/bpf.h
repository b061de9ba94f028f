/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* bcc carries a copy of the kernel's own. */
#include <linux/types.h>
#include <bcc/bpf.h>
