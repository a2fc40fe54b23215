// Activation functions, each written once. All kernels that apply one, the generated ones too, call these.
//
//   forward(x, ...)        the value
//   backward(g, s, ...)    the gradient: g is that of the result; s is the result y where the function can be told from it
//                          (FromOutput), so that the input need not be kept, and otherwise the input x (FromInput)
//
// `parameters` counts the numbers that follow. Comparisons are written so that a nan stays one.
#pragma once

template <int N> struct FromInput {
    static constexpr bool from_output = false;
    static constexpr int parameters = N;
};
template <int N> struct FromOutput {
    static constexpr bool from_output = true;
    static constexpr int parameters = N;
};

#define FUNCTION template <class C> static __device__ inline C

template <class C> __device__ inline C clamp(C x, C low, C high) { return x < low ? low : x > high ? high : x; }
template <class C> __device__ inline C logistic(C x) { return 1 / (1 + exp(-x)); }  // exp may overflow: 1 / inf is 0
template <class C> __device__ inline C absolute(C x) { return x < 0 ? -x : x; }

struct Sigmoid : FromOutput<0> {
    FUNCTION forward(C x) { return logistic(x); }
    FUNCTION backward(C g, C y) { return g * ((1 - y) * y); }
};

struct Tanh : FromOutput<0> {
    FUNCTION forward(C x) { return tanh(x); }
    FUNCTION backward(C g, C y) { return g * (1 - y * y); }
};

struct Relu : FromOutput<0> {
    FUNCTION forward(C x) { return x <= 0 ? C(0) : x; }
    FUNCTION backward(C g, C y) { return y > 0 ? g : C(0); }
};

// The sign of y is that of x for a slope of 0 or more, which the caller sees to.
struct LeakyRelu : FromOutput<1> {
    FUNCTION forward(C x, C slope) { return x > 0 ? x : slope * x; }
    FUNCTION backward(C g, C y, C slope) { return y > 0 ? g : slope * g; }
};

// The gradients of these three are functions of the result too, as y + alpha; but that has lost the digits of the tail, where
// y nears -alpha: of a half type's, all below x = -7. So they are taken from the input.
struct Elu : FromInput<1> {
    FUNCTION forward(C x, C alpha) { return x > 0 ? x : alpha * expm1(x); }
    FUNCTION backward(C g, C x, C alpha) { return x > 0 ? g : g * (alpha * exp(x)); }
};

struct Selu : FromInput<0> {
    static constexpr double alpha = 1.6732632423543772848170429916717;
    static constexpr double scale = 1.0507009873554804934193349852946;
    FUNCTION forward(C x) { return x > 0 ? C(scale) * x : C(scale * alpha) * expm1(x); }
    FUNCTION backward(C g, C x) { return x > 0 ? C(scale) * g : g * (C(scale * alpha) * exp(x)); }
};

struct Celu : FromInput<1> {
    FUNCTION forward(C x, C alpha) { return x > 0 ? x : alpha * expm1(x / alpha); }
    FUNCTION backward(C g, C x, C alpha) { return x > 0 ? g : g * exp(x / alpha); }
};

// x Phi(x), with Phi(x) = erfc(-x / sqrt 2) / 2, which keeps its digits in the negative tail.
struct Gelu : FromInput<0> {
    static constexpr double sqrt_half = 0.70710678118654752440, density_at_0 = 0.39894228040143267794;
    FUNCTION forward(C x) {
        const C twice = erfc(x * C(-sqrt_half));
        return twice == 0 ? C(0) : C(0.5) * x * twice;  // far out, where x may be infinite
    }
    FUNCTION backward(C g, C x) {
        const C share = C(0.5) * erfc(x * C(-sqrt_half)), bell = exp(C(-0.5) * x * x);
        return bell == 0 ? g * share : g * (share + x * (C(density_at_0) * bell));
    }
};

// x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), written as x logistic(2 u): no cancellation for negative x.
struct GeluTanh : FromInput<0> {
    static constexpr double twice_sqrt_2_over_pi = 1.5957691216057307117, cubic = 0.044715;
    FUNCTION forward(C x) { return x * logistic(C(twice_sqrt_2_over_pi) * (x + C(cubic) * x * x * x)); }
    FUNCTION backward(C g, C x) {
        const C s = logistic(C(twice_sqrt_2_over_pi) * (x + C(cubic) * x * x * x));
        const C bell = s * (1 - s);
        if (bell == 0) return g * s;  // far out, where x^2 may be infinite
        return g * (s + x * bell * (C(twice_sqrt_2_over_pi) * (1 + C(3 * cubic) * x * x)));
    }
};

struct Silu : FromInput<0> {
    FUNCTION forward(C x) { return x / (1 + exp(-x)); }
    FUNCTION backward(C g, C x) {
        const C s = logistic(x);
        return g * (s * (1 + x * (1 - s)));
    }
};

// x tanh(softplus(x)). With e = exp(x) and n = e (e + 2), the tanh is n / (n + 2); it rounds to 1 from x = 20 on.
struct Mish : FromInput<0> {
    FUNCTION forward(C x) {
        const C e = exp(x > 20 ? C(20) : x), n = e * (e + 2);
        return x * (n / (n + 2));
    }
    FUNCTION backward(C g, C x) {
        if (x > 20) return g;
        const C e = exp(x), n = e * (e + 2), th = n / (n + 2);
        return g * (th + x * (e / (1 + e)) * (2 / (n + 2)) * (1 + th));  // 1 - th^2 = (1 - th) (1 + th)
    }
};

struct Softplus : FromOutput<0> {
    FUNCTION forward(C x) { return (x > 0 ? x : C(0)) + log1p(exp(-absolute(x))); }
    FUNCTION backward(C g, C y) { return g * -expm1(-y); }  // logistic(x) = 1 - exp(-y)
};

struct LogSigmoid : FromOutput<0> {
    FUNCTION forward(C x) { return (x < 0 ? x : C(0)) - log1p(exp(-absolute(x))); }
    FUNCTION backward(C g, C y) { return g * -expm1(y); }
};

// Its gradient, (1 - |y|)^2, would lose its digits as y nears 1: from the input.
struct Softsign : FromInput<0> {
    FUNCTION forward(C x) { return x / (1 + absolute(x)); }
    FUNCTION backward(C g, C x) {
        const C slope = 1 / (1 + absolute(x));
        return g * (slope * slope);
    }
};

struct HardTanh : FromOutput<2> {
    FUNCTION forward(C x, C low, C high) { return clamp(x, low, high); }
    FUNCTION backward(C g, C y, C low, C high) { return y > low && y < high ? g : C(0); }
};

struct HardSigmoid : FromOutput<0> {
    FUNCTION forward(C x) { return clamp(x + 3, C(0), C(6)) / 6; }
    FUNCTION backward(C g, C y) { return y > 0 && y < 1 ? g / 6 : C(0); }
};

struct HardSwish : FromInput<0> {
    FUNCTION forward(C x) { return x * clamp(x + 3, C(0), C(6)) / 6; }
    FUNCTION backward(C g, C x) { return x <= -3 ? C(0) : x >= 3 ? g : g * (x / 3 + C(0.5)); }
};

// The threshold of both shrinks is 0 or more.
struct SoftShrink : FromOutput<1> {
    FUNCTION forward(C x, C threshold) { return x > threshold ? x - threshold : x < -threshold ? x + threshold : x * 0; }
    FUNCTION backward(C g, C y, C) { return y != 0 ? g : C(0); }
};

struct HardShrink : FromOutput<1> {
    FUNCTION forward(C x, C threshold) { return absolute(x) <= threshold ? C(0) : x; }
    FUNCTION backward(C g, C y, C) { return y != 0 ? g : C(0); }
};

struct TanhShrink : FromInput<0> {
    FUNCTION forward(C x) { return x - tanh(x); }
    FUNCTION backward(C g, C x) {
        const C th = tanh(x);
        return g * (th * th);
    }
};

#undef FUNCTION

// Kernels carry two parameters, whatever the function takes.
template <class F, class C> __device__ inline C apply(C x, C a, C b) {
    if constexpr (F::parameters == 0) return F::forward(x);
    else if constexpr (F::parameters == 1) return F::forward(x, a);
    else return F::forward(x, a, b);
}

template <class F, class C> __device__ inline C apply_backward(C g, C saved, C a, C b) {
    if constexpr (F::parameters == 0) return F::backward(g, saved);
    else if constexpr (F::parameters == 1) return F::backward(g, saved, a);
    else return F::backward(g, saved, a, b);
}
