/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Included by bcc's copy of the kernel's bpf.h, whose constants for hand-written instructions nobody uses here. */
#include <linux/types.h>
