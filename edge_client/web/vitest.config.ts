import { defineConfig } from "vitest/config";

// A large golden stream takes seconds where the machine is busy.
export default defineConfig({ test: { include: ["tests/**/*.test.ts"], testTimeout: 120_000 } });
