/*
 * The pair of 8259A interrupt controllers with the ICH9's edge/level registers. Intel 8259A data sheet; ICH9 datasheet,
 * "8259 Interrupt Controllers (PIC)".
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"

struct pic;

/* intr: the INTR wire (to LINT0). Ports 20H, A0H, 4D0H. */
struct pic *pic_create(struct bus *bus, const struct log *log, const struct irq *intr);
void pic_destroy(struct pic *pic);
void pic_reset(struct pic *pic);
void pic_state(struct pic *pic, struct state *state);

/* Lines 0 to 15; 2 is the cascade and ignored. */
void pic_set(void *pic, unsigned line, bool level);
/* IRR, ISR, IMR and ELCR of a chip (0: master, 1: slave), for a debugger. */
void pic_peek(const struct pic *pic, unsigned chip, uint8_t registers[4]);
/* INTA: the vector. With nothing to deliver it is the spurious one of IR7. */
int pic_acknowledge(void *pic);
